"""A stream's user and password from a file, so that they are neither in the configuration nor in any message."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

if TYPE_CHECKING:
    from agent.vision.cameras import CameraSetup

_MAX_BYTES = 4096


def address_of(setup: CameraSetup) -> str:
    """Return the source with what its `password_file` holds: `user:password`, or the password of its user.

    Raises:
        CameraError: `camera.credentials` when the file cannot be read or holds no password.
    """
    config = setup.config
    if config.password_file is None:
        return config.source
    try:
        with Path(config.password_file).open(encoding="utf-8") as file:
            secret = file.read(_MAX_BYTES).partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise setup.error(
            f"has a password_file {config.password_file} that cannot be read: {reason}",
            "camera.credentials",
            "let the agent's user read it; its first line is user:password",
        ) from error
    user, colon, password = secret.partition(":")
    parts = urlsplit(config.source)
    if not colon:
        user, password = parts.username or "", secret
    if not (user and password):
        raise setup.error(
            f"has a password_file {config.password_file} without a password or its user",
            "camera.credentials",
            "write user:password on its first line",
        )
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(
        netloc=f"{quote(user, safe='')}:{quote(password, safe='')}@{host}"
    ).geturl()
