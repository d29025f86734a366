"""The device's identity folder: one key for grants, one for TLS, and a request for a certificate.

device.key   P-256; model keys are wrapped to it            mode 0600, never leaves the device
tls.key      P-256; the client certificate's                mode 0600, never leaves the device
tls.csr      PKCS#10 with CN = device id                    goes to the fleet's authority
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from agent.host.disk import REAL_DISK, Disk
from agent.trust.keys import FileKey, load_private

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric import ec

DEVICE_KEY = "device.key"
TLS_KEY = "tls.key"
TLS_REQUEST = "tls.csr"


@dataclass(frozen=True)
class Identity:
    """What a device shows of itself: id, key for grants and certificate request (PEM)."""

    device: str
    key: FileKey
    request_pem: bytes


def create_identity(folder: Path, device: str, disk: Disk = REAL_DISK) -> Identity:
    """Make the identity of `device` in `folder`; keys that are already there are kept.

    Raises:
        StorageError: It cannot be written.
        ConfigError: An existing key is exposed or malformed.
        KeyUnavailableError: An existing key cannot be read.
    """
    disk.make_dirs(folder)
    for name in (DEVICE_KEY, TLS_KEY):
        if not disk.exists(folder / name):
            FileKey.create(folder / name, disk)
    identity = load_identity(folder, device)
    disk.write_atomic(folder / TLS_REQUEST, identity.request_pem, 0o644)
    return identity


def load_identity(folder: Path, device: str) -> Identity:
    """Return the identity in `folder`, with a fresh certificate request.

    Raises:
        ConfigError: A key is exposed or malformed.
        KeyUnavailableError: A key is missing or cannot be read.
    """
    key = FileKey.load(folder / DEVICE_KEY)
    return Identity(device, key, _request_pem(load_private(folder / TLS_KEY), device))


def _request_pem(private: ec.EllipticCurvePrivateKey, device: str) -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, device)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return builder.sign(private, hashes.SHA256()).public_bytes(Encoding.PEM)
