"""Opening an installed release: grant, device key, sealed file, sealed memfd."""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING

from agent.errors import StorageError, TrustError
from agent.host.disk import REAL_DISK
from agent.schema.keystore import key_config
from agent.trust.grant import unwrap
from agent.trust.sealed import open_sealed
from agent.trust.stores import key_store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.models.store import InstalledRelease
    from agent.schema.config import Config
    from agent.trust.hybrid import AnyDeviceKey


_MAX_GRANT_BYTES = 4096


def opener_of(config: Config) -> Opener:
    """Return what opens releases with the key of a configured device.

    Raises:
        KeyUnavailableError: The device key cannot be used now.
    """
    identity = config.device
    key = key_store(key_config(config.key)).open()
    return Opener(key, identity.id, identity.device_class)


class Opener:
    """Opens releases with this device's key; plaintext exists only in the memfds it returns.

    Args:
        key: The device key.
        device: This device's id.
        device_class: Its class.
        spare_key: Asked for when a grant is not for `key`: while the key is being changed, some are for the other.
    """

    def __init__(
        self,
        key: AnyDeviceKey,
        device: str,
        device_class: str,
        spare_key: Callable[[], AnyDeviceKey | None] = lambda: None,
    ) -> None:
        self._key = key
        self._spare_key = spare_key
        self._device = device
        self._class = device_class

    def payload(self, release: InstalledRelease) -> int:
        """Return a sealed memfd with the variant's weights; the caller closes it.

        Raises:
            TrustError: Grant or container is not for this device and release, or changed.
            KeyUnavailableError: The device key cannot be used now.
            StorageError: A file cannot be read, or there is not enough memory.
        """
        return self._open(release, release.payload_path)

    def golden(self, release: InstalledRelease) -> int:
        """Return a sealed memfd with the golden set (MessagePack); the caller closes it.

        Raises:
            TrustError: Grant or container is not for this device and release, or changed.
            KeyUnavailableError: The device key cannot be used now.
            StorageError: A file cannot be read, or there is not enough memory.
        """
        return self._open(release, release.golden_path)

    def _open(self, release: InstalledRelease, path: Path) -> int:
        release_id = release.manifest.release_id
        grant = REAL_DISK.read(release.grant_path, _MAX_GRANT_BYTES)
        dek = self._unwrap(grant, release_id)
        with _map_file(path) as blob:
            return open_sealed(blob, dek, release_id)

    def _unwrap(self, grant: bytes, release_id: str) -> bytes:
        try:
            return unwrap(grant, self._key, release_id, self._class, self._device)
        except TrustError:
            spare = self._spare_key()
            if spare is None:
                raise
            return unwrap(grant, spare, release_id, self._class, self._device)


def _map_file(path: Path) -> mmap.mmap:
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    except (OSError, ValueError) as error:
        raise StorageError(f"{path}: cannot be mapped: {error}") from error
