"""A grant: one release's data encryption key (DEK), wrapped to one device.

Blob: KEM id (1 byte), then the HPKE encapsulation and ciphertext (113 bytes for P-256; RFC 9180,
DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM, base mode). `info` binds it to release, class and
device, so a grant moved elsewhere does not open. The KEM id leaves room for a post-quantum one.
"""

from __future__ import annotations

import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke

from agent.errors import KeyUnavailableError, TrustError, VigilError
from agent.trust.keys import DeviceKey, TokenBackedKey, load_point

DEK_BYTES = 32
KEM_P256 = 1
_TAG_BYTES = 16
_POINT_BYTES = 65
GRANT_BYTES = 1 + _POINT_BYTES + DEK_BYTES + _TAG_BYTES
_SUITE = hpke.Suite(hpke.KEM.P256, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


def wrap(dek: bytes, public_bytes: bytes, release_id: str, device_class: str, device: str) -> bytes:
    """Wrap a 32-byte DEK to the device key `public_bytes` (65 bytes); return the 114-byte grant.

    Raises:
        TrustError: `public_bytes` is not a point of P-256.
    """
    if len(dek) != DEK_BYTES:
        raise ValueError(f"a DEK has {DEK_BYTES} bytes, this one {len(dek)}")
    info = _info(release_id, device_class, device)
    return bytes([KEM_P256]) + _SUITE.encrypt(dek, load_point(public_bytes), info=info)


def unwrap(grant: bytes, key: DeviceKey, release_id: str, device_class: str, device: str) -> bytes:
    """Return the 32-byte DEK in `grant`.

    Raises:
        KeyUnavailableError: The device key cannot be used now; the grant may be perfectly good.
        TrustError: The grant is malformed (`trust.malformed`), or made for another key, release, class or
            device, or changed (`trust.grant`).
    """
    if len(grant) != GRANT_BYTES or grant[0] != KEM_P256:
        message = (
            f"grant: expected {GRANT_BYTES} bytes of kind {KEM_P256}, found {len(grant)} bytes"
        )
        raise TrustError(message, code="trust.malformed")
    adapter = TokenBackedKey(key)
    try:
        return _SUITE.decrypt(grant[1:], adapter, info=_info(release_id, device_class, device))
    except InvalidTag as error:
        raise _explain(adapter.cause, release_id) from (adapter.cause or error)


def _explain(cause: Exception | None, release_id: str) -> VigilError:
    if isinstance(cause, VigilError):
        return cause
    if cause is not None:
        return KeyUnavailableError(f"device key: {type(cause).__name__}: {cause}")
    message = f"grant: not made for this key, device and release {release_id!r}, or changed"
    return TrustError(message, code="trust.grant", hint="ask the key service for a fresh grant")


def _info(release_id: str, device_class: str, device: str) -> bytes:
    """Return HPKE's `info`: a label, then each field behind its length, so that none can shift."""
    fields = (field.encode() for field in (release_id, device_class, device))
    return b"vigil/grant/1" + b"".join(struct.pack(">H", len(field)) + field for field in fields)
