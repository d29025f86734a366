"""Opening an installed release: grant, device key, sealed file, sealed memfd."""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING

from agent.errors import StorageError
from agent.trust.grant import unwrap
from agent.trust.sealed import open_sealed

if TYPE_CHECKING:
    from pathlib import Path

    from agent.models.store import InstalledRelease
    from agent.trust.keys import DeviceKey


class Opener:
    """Opens releases with this device's key; plaintext exists only in the memfds it returns."""

    def __init__(self, key: DeviceKey, device: str, device_class: str) -> None:
        self._key = key
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
        try:
            grant = release.grant_path.read_bytes()
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as blob:
                dek = unwrap(grant, self._key, release_id, self._class, self._device)
                return open_sealed(blob, dek, release_id)
        except (OSError, ValueError) as error:
            raise StorageError(f"{path}: cannot be opened: {error}") from error
