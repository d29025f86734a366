"""A secret in a file of its own: a bearer token, one line that nobody else may read."""

from __future__ import annotations

import stat
from pathlib import Path

from agent.errors import ConfigError

MIN_TOKEN_CHARS = 16
MAX_TOKEN_BYTES = 1024


def read_token(path: Path, setting: str) -> str:
    """Return the token: the file's only line; `setting` is where the configuration names the file.

    Raises:
        ConfigError: The file is missing, readable by others, too short or too long.
    """
    code = f"{setting.partition('.')[0]}.token"
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        data = path.read_bytes()[: MAX_TOKEN_BYTES + 1]
    except OSError as error:
        message = f"{setting}: {path}: {error.strerror}"
        raise ConfigError(message, code=code, hint=_HOW_TO_MAKE_ONE) from error
    if mode & 0o077:
        message = f"{setting}: {path} has mode {mode:04o}, expected 0600"
        raise ConfigError(message, code=code, hint=f"run: chmod 600 {path}")
    token = data.decode("utf-8", "replace").strip()
    if not MIN_TOKEN_CHARS <= len(token) <= MAX_TOKEN_BYTES or not token.isprintable():
        message = (
            f"{setting}: {path}: expected one line of {MIN_TOKEN_CHARS} to "
            f"{MAX_TOKEN_BYTES} characters, found {len(token)}"
        )
        raise ConfigError(message, code=code, hint=_HOW_TO_MAKE_ONE)
    return token


_HOW_TO_MAKE_ONE = "make one: (umask 077; head -c 24 /dev/urandom | base64 > FILE)"
