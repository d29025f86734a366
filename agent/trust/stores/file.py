"""A device key in a PEM file with mode 0600: for boards that have nothing better."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from agent.errors import ConfigError
from agent.host.disk import REAL_DISK, Disk
from agent.schema.keystore import FileKeyConfig, Kem
from agent.trust.hybrid import AnyDeviceKey, HybridKey
from agent.trust.keys import FileKey, parse_private, read_owned

SUCCESSOR = ".next"
_HYBRID_PARTS = 2


class FileStore:
    """See `agent.trust.stores.KeyStore`."""

    def __init__(self, config: FileKeyConfig, disk: Disk = REAL_DISK) -> None:
        self._config = config
        self._disk = disk
        self._path = Path(config.path)

    def exists(self) -> bool:
        """Say whether the file is there."""
        return self._disk.exists(self._path)

    def create(self) -> AnyDeviceKey:
        """Make the key, or load the one that is there."""
        if not self.exists():
            self._disk.write_atomic(self._path, new_key(self._config.kem))
        return self.open()

    def open(self) -> AnyDeviceKey:
        """Load the key."""
        return parse_key(read_owned(self._path), self._config.kem, self._path)

    def successor(self) -> FileStore:
        """Return the store of the file beside this one."""
        return FileStore(replace(self._config, path=f"{self._path}{SUCCESSOR}"), self._disk)

    def promote(self) -> None:
        """Rename the successor over the key."""
        if self.successor().exists():
            self._disk.rename(Path(f"{self._path}{SUCCESSOR}"), self._path)


def new_key(kem: Kem) -> bytes:
    """Return a new private key of this kind as PEM."""
    return HybridKey.generate().pem() if kem is Kem.X_WING else FileKey.generate().pem()


def parse_key(data: bytes, kem: Kem, path: Path) -> AnyDeviceKey:
    """Return the private key in the PEM `data`, which must be of the kind `kem`.

    Raises:
        ConfigError: It is of the other kind (`key.other_kem`) or no key (`key.malformed`); `path` is named.
    """
    found = Kem.X_WING if data.count(b"-----BEGIN PRIVATE KEY-----") == _HYBRID_PARTS else Kem.P256
    key = HybridKey.parse(data, path) if found is Kem.X_WING else _parse_p256(data, path)
    if found is not kem:
        message = f"{path}: expected a key for {kem.value}, found one for {found.value}"
        hint = f"set `kem: {found.value}` at `key`, or enrol the device anew"
        raise ConfigError(message, code="key.other_kem", hint=hint)
    return key


def _parse_p256(data: bytes, path: Path) -> FileKey:
    return FileKey(parse_private(data, path))
