"""A device key as a systemd credential: encrypted on disk to this machine (its TPM or its host key).

`LoadCredentialEncrypted=vigil-device-key:/etc/credstore.encrypted/vigil-device-key` in the unit makes systemd decrypt it
into memory that only this service sees. Making one needs root, as only root can reach the host key:
`systemd-creds encrypt` gets the key by standard input, so that plaintext never lies in a file.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from msgspec.structs import replace

from agent.errors import KeyUnavailableError
from agent.host.disk import REAL_DISK, Disk
from agent.schema.keystore import CredentialKeyConfig
from agent.trust.hybrid import AnyDeviceKey
from agent.trust.stores.file import new_key, parse_key
from agent.trust.stores.secret import credential_path, read_credential

SUCCESSOR = ".next"
_PROGRAM = "systemd-creds"
_TIMEOUT_S = 30


class CredentialStore:
    """See `agent.trust.stores.KeyStore`."""

    def __init__(self, config: CredentialKeyConfig, disk: Disk = REAL_DISK) -> None:
        self._config = config
        self._disk = disk
        self._encrypted = Path(config.encrypted)

    def exists(self) -> bool:
        """Say whether the encrypted file, or the credential itself, is there."""
        return self._disk.exists(self._encrypted) or self._is_loaded()

    def create(self) -> AnyDeviceKey:
        """Make the key and encrypt it to this machine; or find the one that is there."""
        if self.exists():
            return self.open()
        pem = new_key(self._config.kem)
        sealed = _systemd_creds("encrypt", self._config.name, "-", pem)
        self._disk.make_dirs(self._encrypted.parent)
        self._disk.write_atomic(self._encrypted, sealed)
        return parse_key(pem, self._config.kem, self._encrypted)

    def open(self) -> AnyDeviceKey:
        """Read the credential that systemd gave this service; outside of the service, as root, decrypt it."""
        name = self._config.name
        if self._is_loaded() or not self._disk.exists(self._encrypted):
            return parse_key(read_credential(name), self._config.kem, credential_path(name))
        pem = _systemd_creds("decrypt", name, str(self._encrypted), b"")
        return parse_key(pem, self._config.kem, self._encrypted)

    def successor(self) -> CredentialStore:
        """Return the store of the credential beside this one.

        It bears the same name inside, because the name is bound to the encryption and stays when it is promoted.
        """
        place = f"{self._encrypted}{SUCCESSOR}"
        return _Successor(replace(self._config, encrypted=place), self._disk)

    def promote(self) -> None:
        """Rename the successor over the encrypted file; systemd loads it at the next start."""
        if self.successor().exists():
            self._disk.rename(Path(f"{self._encrypted}{SUCCESSOR}"), self._encrypted)

    def _is_loaded(self) -> bool:
        try:
            return self._disk.exists(credential_path(self._config.name))
        except KeyUnavailableError:
            return False


class _Successor(CredentialStore):
    """A credential that systemd has not loaded yet."""

    def _is_loaded(self) -> bool:
        return False


def _systemd_creds(verb: str, name: str, source: str, data: bytes) -> bytes:
    command = [_PROGRAM, verb, f"--name={name}", source, "-"]
    try:
        run = subprocess.run(
            command, input=data, capture_output=True, timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        message = f"credential {name}: {_PROGRAM} {verb}: {error}"
        raise KeyUnavailableError(message, code="key.no_credentials") from error
    if run.returncode != 0:
        reason = run.stderr.decode(errors="replace").strip()[:300]
        message = f"credential {name}: {_PROGRAM} {verb}: {reason}"
        hint = "run it as root, on the machine it is for"
        raise KeyUnavailableError(message, code="key.no_credentials", hint=hint)
    return run.stdout
