"""X-Wing: ML-KEM-768 and X25519 together, for device keys in software.

What one of the two cannot keep, the other does: a grant recorded today stays closed to whoever breaks
elliptic curves later. No token or TPM offers ML-KEM yet, so this is a choice for file and credential.

Public key: ML-KEM-768 (1,184 bytes), then X25519 (32), as in draft-connolly-cfrg-xwing-kem. Private key: a
file with both keys in PEM (PKCS#8), X25519 first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hpke, serialization
from cryptography.hazmat.primitives.asymmetric import mlkem, x25519

from agent.errors import TrustError
from agent.trust.keys import DeviceKey, malformed

if TYPE_CHECKING:
    from pathlib import Path

_MLKEM_BYTES = 1184
PUBLIC_BYTES = _MLKEM_BYTES + 32
_MARK = b"-----BEGIN PRIVATE KEY-----"
_EXPECTED = "an X25519 and an ML-KEM-768 private key in PEM"


class HybridKey:
    """A private key for X-Wing, in memory."""

    def __init__(self, lattice: mlkem.MLKEM768PrivateKey, curve: x25519.X25519PrivateKey) -> None:
        self._lattice = lattice
        self._curve = curve

    @classmethod
    def generate(cls) -> HybridKey:
        """Return a new key."""
        return cls(mlkem.MLKEM768PrivateKey.generate(), x25519.X25519PrivateKey.generate())

    @classmethod
    def parse(cls, data: bytes, path: Path) -> HybridKey:
        """Return the key in the PEM `data`; `path` names it in the error.

        Raises:
            ConfigError: It is no such key (`key.malformed`).
        """
        parts = [_MARK + part for part in data.split(_MARK)[1:]]
        try:
            curve, lattice = (serialization.load_pem_private_key(part, None) for part in parts)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise malformed(path, _EXPECTED) from error
        if isinstance(curve, x25519.X25519PrivateKey) and isinstance(
            lattice, mlkem.MLKEM768PrivateKey
        ):
            return cls(lattice, curve)
        raise malformed(path, _EXPECTED)

    def pem(self) -> bytes:
        """Return both private keys as unencrypted PEM."""
        return b"".join(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            for key in (self._curve, self._lattice)
        )

    @property
    def public_bytes(self) -> bytes:
        """Return the public key, 1,216 bytes."""
        lattice, curve = self._lattice.public_key(), self._curve.public_key()
        return lattice.public_bytes_raw() + curve.public_bytes_raw()

    def own_secret(self) -> bytes:
        """Return the secret, 32 bytes, of the X25519 half with itself."""
        return self._curve.exchange(self._curve.public_key())

    @property
    def private(self) -> hpke.MLKEM768X25519PrivateKey:
        """Return it as HPKE takes it."""
        return hpke.MLKEM768X25519PrivateKey(self._lattice, self._curve)


AnyDeviceKey = DeviceKey | HybridKey


def own_secret(key: AnyDeviceKey) -> bytes:
    """Return 32 bytes that only the holder of the key can compute: its ECDH with itself.

    Raises:
        KeyUnavailableError: The key cannot be used now.
    """
    if isinstance(key, HybridKey):
        return key.own_secret()
    return key.exchange(key.public_bytes)


def load_hybrid_public(data: bytes) -> hpke.MLKEM768X25519PublicKey:
    """Return the public key that `data` (1,216 bytes) encodes.

    Raises:
        TrustError: It encodes none (`trust.bad_point`).
    """
    try:
        lattice = mlkem.MLKEM768PublicKey.from_public_bytes(data[:_MLKEM_BYTES])
        curve = x25519.X25519PublicKey.from_public_bytes(data[_MLKEM_BYTES:])
    except ValueError as error:
        message = f"public key: expected {PUBLIC_BYTES} bytes of X-Wing, found {len(data)} others"
        raise TrustError(message, code="trust.bad_point") from error
    return hpke.MLKEM768X25519PublicKey(lattice, curve)
