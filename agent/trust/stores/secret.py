"""Reading a PIN: from a file that only its owner may read, or from a systemd credential."""

from __future__ import annotations

import os
from pathlib import Path

from agent.errors import KeyUnavailableError
from agent.schema.keystore import CREDENTIAL_PREFIX
from agent.trust.keys import read_owned

# systemd gives a service's user access by an ACL, whose mask shows as the group's bits; the folder is the
# service's own and read-only.
_CREDENTIAL_MODE = 0o037


def credential_path(name: str) -> Path:
    """Return where systemd put the credential `name` for this service.

    Raises:
        KeyUnavailableError: This process has no credentials (`key.no_credentials`).
    """
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        message = f"credential {name}: expected $CREDENTIALS_DIRECTORY, found none"
        hint = f"add LoadCredentialEncrypted={name}:<file> to the unit; see docs/security.md"
        raise KeyUnavailableError(message, code="key.no_credentials", hint=hint)
    return Path(folder) / name


def read_credential(name: str) -> bytes:
    """Return the content of a systemd credential.

    Raises:
        KeyUnavailableError: It is not there (`key.no_credentials`, `key.unavailable`).
        ConfigError: Others may read it (`key.exposed`).
    """
    return read_owned(credential_path(name), _CREDENTIAL_MODE)


def read_pin(place: str) -> str:
    """Return the PIN in the file `place`, or in the credential `credential:<name>`.

    Raises:
        KeyUnavailableError: It is not there, or no text (`key.pin_wrong`).
        ConfigError: Others may read it (`key.exposed`).
    """
    if place.startswith(CREDENTIAL_PREFIX):
        data = read_credential(place.removeprefix(CREDENTIAL_PREFIX))
    else:
        data = read_owned(Path(place))
    try:
        return data.decode().rstrip("\r\n")
    except UnicodeDecodeError as error:
        message = f"{place}: expected a PIN as one line of text"
        raise KeyUnavailableError(message, code="key.pin_wrong") from error


def fingerprint(place: str) -> tuple[int, ...]:
    """Return what changes when the PIN file is written again; empty where there is none."""
    if not place:
        return ()
    try:
        path = (
            credential_path(place.removeprefix(CREDENTIAL_PREFIX))
            if place.startswith(CREDENTIAL_PREFIX)
            else Path(place)
        )
        status = path.stat()
    except (OSError, KeyUnavailableError):
        return ()
    return status.st_ino, status.st_mtime_ns, status.st_size
