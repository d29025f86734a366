"""The device's private key: one small Protocol, so that a token or a TPM can hold it.

The only thing asked of a key is ECDH on P-256, because that is what TPM 2.0, OP-TEE and SoftHSM can do
without ever showing the key.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from typing_extensions import override

from agent.errors import ConfigError, KeyUnavailableError, TrustError
from agent.host.disk import REAL_DISK, Disk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

P256_POINT_BYTES = 65
_MAX_SECRET_BYTES = 16 * 1024
_EXPECTED = "an unencrypted P-256 private key in PEM"


class DeviceKey(Protocol):
    """A P-256 private key that may live in a file, a token or a TPM."""

    @property
    def public_bytes(self) -> bytes:
        """Return the public key: 65 bytes, uncompressed X9.62 point."""

    def exchange(self, peer_public: bytes) -> bytes:
        """Return the ECDH shared secret (32 bytes) with a peer's uncompressed point.

        Raises:
            KeyUnavailableError: The key cannot be used now.
            TrustError: `peer_public` is not a point of the curve.
        """


class FileKey:
    """A `DeviceKey` in a PEM file (PKCS#8) that only its owner may read."""

    def __init__(self, private: ec.EllipticCurvePrivateKey) -> None:
        self._private = private

    @classmethod
    def create(cls, path: Path, disk: Disk = REAL_DISK) -> FileKey:
        """Generate a key and store it at `path` with mode 0600.

        Raises:
            StorageError: It cannot be written.
        """
        key = cls.generate()
        disk.write_atomic(path, key.pem(), 0o600)
        return key

    @classmethod
    def generate(cls) -> FileKey:
        """Return a new key, in memory only."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    def pem(self) -> bytes:
        """Return the private key as unencrypted PEM."""
        return private_pem(self._private)

    @classmethod
    def load(cls, path: Path) -> FileKey:
        """Read the key at `path`, for example a systemd credential.

        Raises:
            KeyUnavailableError: The file is not there or cannot be read (`key.unavailable`).
            ConfigError: Others may read it (`key.exposed`), or it is no P-256 key (`key.malformed`).
        """
        return cls(load_private(path))

    @property
    def public_bytes(self) -> bytes:
        """Return the public key: 65 bytes, uncompressed X9.62 point."""
        return public_point(self._private.public_key())

    def exchange(self, peer_public: bytes) -> bytes:
        """Return the ECDH shared secret (32 bytes) with a peer's uncompressed point.

        Raises:
            TrustError: `peer_public` is not a point of the curve.
        """
        return self._private.exchange(ec.ECDH(), load_point(peer_public))


def public_point(key: ec.EllipticCurvePublicKey) -> bytes:
    """Return a P-256 public key as 65 bytes, uncompressed."""
    return key.public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )


def load_point(data: bytes) -> ec.EllipticCurvePublicKey:
    """Return the P-256 public key that the uncompressed point `data` encodes.

    Raises:
        TrustError: It is no such point (`trust.bad_point`).
    """
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), data)
    except ValueError as error:
        message = f"public key: expected a point of P-256, found {len(data)} other bytes"
        raise TrustError(message, code="trust.bad_point") from error


def private_pem(private: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a private key as unencrypted PKCS#8 PEM."""
    return private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def load_private(path: Path) -> ec.EllipticCurvePrivateKey:
    """Read a P-256 private key from a PEM file that only its owner may read; links are not followed.

    Raises:
        KeyUnavailableError: The file is not there or cannot be read (`key.unavailable`).
        ConfigError: Others may read it (`key.exposed`), or it is no P-256 key (`key.malformed`).
    """
    return parse_private(read_owned(path), path)


def parse_private(data: bytes, path: Path) -> ec.EllipticCurvePrivateKey:
    """Return the P-256 private key in the PEM `data`; `path` names it in the error.

    Raises:
        ConfigError: It is no such key (`key.malformed`).
    """
    try:
        private = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise malformed(path, _EXPECTED) from error
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise malformed(path, _EXPECTED)
    if not isinstance(private.curve, ec.SECP256R1):
        raise malformed(path, _EXPECTED)
    return private


def read_owned(path: Path, foreign_mode: int = 0o077) -> bytes:
    """Return the secret in a small regular file; links are not followed.

    Args:
        path: The file.
        foreign_mode: Permission bits that must not be set.

    Raises:
        KeyUnavailableError: The file is not there or cannot be read (`key.unavailable`).
        ConfigError: Others may read it (`key.exposed`), or it is no file (`key.malformed`).
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        hint = "check the path, links are not followed; a device gets its own with `vigil enroll`"
        raise KeyUnavailableError(f"{path}: {error.strerror}", hint=hint) from error
    with os.fdopen(fd, "rb") as file:
        status = os.fstat(fd)
        mode = stat.S_IMODE(status.st_mode)
        if not stat.S_ISREG(status.st_mode):
            raise malformed(path, "a regular file")
        if mode & foreign_mode:
            message = f"{path}: expected mode 0600 or stricter, found {mode:04o}"
            raise ConfigError(message, code="key.exposed", hint=f"chmod 600 {path}; then renew it")
        return file.read(_MAX_SECRET_BYTES)


def malformed(path: Path, expected: str) -> ConfigError:
    """Return the error for a key file with something else in it."""
    hint = "restore it, or enrol the device anew"
    return ConfigError(f"{path}: expected {expected}", code="key.malformed", hint=hint)


class TokenBackedKey(ec.EllipticCurvePrivateKey):
    """Makes a `DeviceKey` usable where `cryptography` wants a private key.

    HPKE turns every exception inside `exchange` into a bare InvalidTag; `cause` keeps the true one, so
    that a token that is gone does not read as tampering.
    """

    def __init__(self, key: DeviceKey) -> None:
        self._key = key
        self.cause: Exception | None = None

    @property
    def curve(self) -> ec.EllipticCurve:
        """Return P-256."""
        return ec.SECP256R1()

    @property
    def key_size(self) -> int:
        """Return the curve's size, bits."""
        return 256

    @override
    def exchange(self, algorithm: ec.ECDH, peer_public_key: ec.EllipticCurvePublicKey) -> bytes:
        """Return the shared secret from the device key."""
        with self._keeping_the_cause():
            return self._key.exchange(public_point(peer_public_key))

    @override
    def public_key(self) -> ec.EllipticCurvePublicKey:
        """Return the public half."""
        with self._keeping_the_cause():
            return load_point(self._key.public_bytes)

    @contextlib.contextmanager
    def _keeping_the_cause(self) -> Iterator[None]:
        try:
            yield
        # A third party's key store may raise anything; it is kept and raised again, never swallowed.
        except Exception as error:
            self.cause = error
            raise

    @override
    def sign(self, data: Any, signature_algorithm: Any) -> NoReturn:
        """Refuse: a device key only agrees on secrets."""
        raise TypeError("a device key does not sign")

    @override
    def private_numbers(self) -> NoReturn:
        """Refuse: the private half stays where it is."""
        raise TypeError("a device key does not show its private half")

    @override
    def private_bytes(self, encoding: Any, format: Any, encryption_algorithm: Any) -> NoReturn:
        """Refuse: the private half stays where it is."""
        raise TypeError("a device key does not show its private half")

    def __copy__(self) -> TokenBackedKey:
        """Return itself: a key in a token cannot be duplicated."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> TokenBackedKey:
        """Return itself: a key in a token cannot be duplicated."""
        return self
