"""TensorRT engines that were built on this device, sealed at rest.

    engines/<sha256 of the ONNX payload>.sealed

An engine holds the model's weights and is code that the worker runs, so it is kept as secret as the weights and
must be as genuine; and it is good for one machine only. Rules:

- The key is HKDF-SHA256 of the device key's ECDH secret with its own public point (`own_secret`). Only who can use the device key
  can compute it, a token or TPM does so without showing the key, nothing more has to be stored or backed up, and
  a newly enrolled device key makes old engines unreadable. A grant to oneself (HPKE) would not do: whoever
  knows the public key could seal an engine of his own.
- The sealed name is the digest of payload and fingerprint: an engine for another payload, another TensorRT, CUDA,
  driver, GPU or plan does not open, wherever its file is copied.
- What does not open is removed; its owner builds it again. There is one engine per payload.
"""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from agent.errors import StorageError, TrustError
from agent.host.disk import REAL_DISK, Disk
from agent.trust.hybrid import own_secret
from agent.trust.sealed import open_sealed, seal

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from agent.schema.engine import Fingerprint
    from agent.trust.hybrid import AnyDeviceKey

log = logging.getLogger(__name__)

_LABEL = b"vigil/engine-cache/1"
_SUFFIX = ".sealed"
_MAX_ENGINE_BYTES = 2**31


class EngineCache:
    """The engines under one folder.

    Args:
        folder: Created if it is not there.
        key: The device key; asked at each use, because a token may come and go.
        disk: Disk under `folder`.
    """

    def __init__(self, folder: Path, key: AnyDeviceKey, disk: Disk = REAL_DISK) -> None:
        self._folder, self._key, self._disk = folder, key, disk
        disk.make_dirs(folder)

    def open(self, payload_sha256: str, fingerprint: Fingerprint) -> int | None:
        """Return a sealed memfd with the engine, which the caller closes, or None where it must be built.

        Raises:
            KeyUnavailableError: The device key cannot be used now.
            StorageError: The file cannot be read, or there is not enough memory.
        """
        path = self._path(payload_sha256)
        if not self._disk.exists(path):
            return None
        try:
            blob = self._disk.read(path, _MAX_ENGINE_BYTES)
            return open_sealed(blob, self._secret(), _name(payload_sha256, fingerprint))
        except TrustError as error:
            log.warning("the TensorRT engine must be built again: %s [%s]", error, error.code)
        except StorageError as error:
            if error.code != "storage.too_long":
                raise
            log.warning("the TensorRT engine must be built again: %s", error)
        self._disk.remove(path)
        return None

    def put(self, payload_sha256: str, fingerprint: Fingerprint, engine: bytes) -> None:
        """Seal an engine in place of the payload's former one.

        Raises:
            KeyUnavailableError: The device key cannot be used now.
            StorageError: It cannot be written; the former one is still there.
        """
        sealed = seal(engine, self._secret(), _name(payload_sha256, fingerprint))
        self._disk.write_atomic(self._path(payload_sha256), sealed)

    def drop(self, payload_sha256: str) -> None:
        """Remove the payload's engine, if there is one.

        Raises:
            StorageError: It cannot be removed.
        """
        self._disk.remove(self._path(payload_sha256))

    def keep_only(self, payloads: Collection[str]) -> None:
        """Remove the engines of all other payloads.

        Raises:
            StorageError: One cannot be removed.
        """
        kept = {self._path(payload) for payload in payloads}
        for path in self._disk.list(self._folder):
            if path not in kept:
                self._disk.remove(path)

    def _path(self, payload_sha256: str) -> Path:
        return self._folder / f"{payload_sha256}{_SUFFIX}"

    def _secret(self) -> bytes:
        return HKDF(hashes.SHA256(), 32, salt=None, info=_LABEL).derive(own_secret(self._key))


def _name(payload_sha256: str, fingerprint: Fingerprint) -> str:
    """Return what the sealed container is bound to; a release's id has two slashes, this has one."""
    facts = msgspec.json.encode(fingerprint, order="sorted")
    digest = hashlib.sha256(bytes.fromhex(payload_sha256) + facts).hexdigest()
    return f"engine/{digest}"
