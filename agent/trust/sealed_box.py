"""Sealed boxes: what anybody may close and only the holder of one key can open.

HPKE (RFC 9180) in base mode: DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM; a fresh encapsulation for each
box. It says nothing about who closed it. `purpose` goes into HKDF: a box made for one thing does not pass for another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke

from agent.errors import TrustError
from agent.trust.keys import load_point

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

_SUITE = hpke.Suite(hpke.KEM.P256, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
_LABEL = b"vigil/box/1/"


def close_box(content: bytes, public_bytes: bytes, purpose: str) -> bytes:
    """Return `content` sealed to a public key, 65 bytes of P-256.

    Raises:
        TrustError: `public_bytes` is no point of the curve (`trust.bad_point`).
    """
    return _SUITE.encrypt(content, load_point(public_bytes), info=_LABEL + purpose.encode())


def open_box(box: bytes, private: ec.EllipticCurvePrivateKey, purpose: str) -> bytes:
    """Return what was sealed to the public half of `private`, a key of P-256.

    Raises:
        TrustError: `trust.box`: made for another key or purpose, or changed.
    """
    try:
        return _SUITE.decrypt(box, private, info=_LABEL + purpose.encode())
    except InvalidTag as error:
        message = f"sealed box of {len(box)} bytes: not made for this key, or changed"
        raise TrustError(message, code="trust.box") from error
