"""A grant: one release's data encryption key (DEK), wrapped to one device.

Blob: KEM id (1 byte), then what HPKE gives (RFC 9180, base mode, HKDF-SHA256, AES-256-GCM): encapsulation,
32 bytes of ciphertext and a tag of 16. `info` binds it to release, class and device, so a grant moved
elsewhere does not open.

id  KEM                          grant         device key
1   DHKEM(P-256, HKDF-SHA256)      114 bytes   any store
2   X-Wing (ML-KEM-768, X25519)  1,169 bytes   software keys that chose it
"""

from __future__ import annotations

import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke

from agent.errors import KeyUnavailableError, TrustError, VigilError
from agent.trust.hybrid import PUBLIC_BYTES, AnyDeviceKey, HybridKey, load_hybrid_public
from agent.trust.keys import DeviceKey, TokenBackedKey, load_point

DEK_BYTES = 32
KEM_P256 = 1
KEM_X_WING = 2
_TAG_BYTES = 16
_FIXED_BYTES = 1 + DEK_BYTES + _TAG_BYTES
GRANT_BYTES = {KEM_P256: _FIXED_BYTES + 65, KEM_X_WING: _FIXED_BYTES + 1120}
_REST = (hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
_P256 = hpke.Suite(hpke.KEM.P256, *_REST)
_X_WING = hpke.Suite(hpke.KEM.MLKEM768_X25519, *_REST)


def wrap(dek: bytes, public_bytes: bytes, release_id: str, device_class: str, device: str) -> bytes:
    """Wrap a 32-byte DEK to a device's public key, 65 bytes of P-256 or 1,216 of X-Wing.

    Raises:
        TrustError: `public_bytes` is neither.
    """
    if len(dek) != DEK_BYTES:
        raise ValueError(f"a DEK has {DEK_BYTES} bytes, this one {len(dek)}")
    info = _info(release_id, device_class, device)
    if len(public_bytes) == PUBLIC_BYTES:
        hybrid = load_hybrid_public(public_bytes)
        return bytes([KEM_X_WING]) + _X_WING.encrypt(dek, hybrid, info=info)
    return bytes([KEM_P256]) + _P256.encrypt(dek, load_point(public_bytes), info=info)


def check_public(public_bytes: bytes) -> None:
    """Refuse what no grant could be wrapped to.

    Raises:
        TrustError: It is neither a point of P-256 nor a public key of X-Wing (`trust.bad_point`).
    """
    load = load_hybrid_public if len(public_bytes) == PUBLIC_BYTES else load_point
    load(public_bytes)


def unwrap(
    grant: bytes, key: AnyDeviceKey, release_id: str, device_class: str, device: str
) -> bytes:
    """Return the 32-byte DEK in `grant`.

    Raises:
        KeyUnavailableError: The device key cannot be used now; the grant may be perfectly good.
        TrustError: The grant is malformed (`trust.malformed`), wrapped for the other kind of key
            (`trust.other_kem`), or made for another key, release, class or device, or changed (`trust.grant`).
    """
    kem = grant[0] if grant else 0
    if len(grant) != GRANT_BYTES.get(kem):
        sizes = " or ".join(f"{size} bytes of kind {kind}" for kind, size in GRANT_BYTES.items())
        message = f"grant: expected {sizes}, found {len(grant)} bytes of kind {kem}"
        raise TrustError(message, code="trust.malformed")
    info = _info(release_id, device_class, device)
    if isinstance(key, HybridKey):
        _check_kem(kem, KEM_X_WING)
        return _open_hybrid(grant, key, info, release_id)
    _check_kem(kem, KEM_P256)
    return _open_p256(grant, key, info, release_id)


def _open_p256(grant: bytes, key: DeviceKey, info: bytes, release_id: str) -> bytes:
    adapter = TokenBackedKey(key)
    try:
        return _P256.decrypt(grant[1:], adapter, info=info)
    except InvalidTag as error:
        raise _explain(adapter.cause, release_id) from (adapter.cause or error)


def _open_hybrid(grant: bytes, key: HybridKey, info: bytes, release_id: str) -> bytes:
    try:
        return _X_WING.decrypt(grant[1:], key.private, info=info)
    except InvalidTag as error:
        raise _explain(None, release_id) from error


def _check_kem(found: int, expected: int) -> None:
    if found != expected:
        message = f"grant: expected kind {expected}, which this device's key opens, found {found}"
        hint = "the fleet knows another key of this device: enrol it anew"
        raise TrustError(message, code="trust.other_kem", hint=hint)


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
