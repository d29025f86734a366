"""The device's identity folder: one key for grants, one for TLS, and a request for a certificate.

key.json     where the key for grants lives (`agent.schema.keystore`) and its public half
device.key   that key, where it lives in a file              mode 0600, never leaves the device
tls.key      P-256; the client certificate's                 mode 0600, never leaves the device
tls.csr      PKCS#10 with CN = device id                     goes to the fleet's authority
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from agent.errors import ConfigError
from agent.host.disk import REAL_DISK, Disk
from agent.schema.document import Malformed, parse_json, to_json
from agent.schema.keystore import FileKeyConfig, KeyConfig, located
from agent.schema.values import Struct
from agent.trust.keys import FileKey, load_private
from agent.trust.stores import key_store

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric import ec

DEVICE_KEY = "device.key"
KEY_RECORD = "key.json"
TLS_KEY = "tls.key"
TLS_REQUEST = "tls.csr"
_LIMIT = 64 * 1024


class KeyRecord(Struct):
    """Where the key for grants lives, with absolute paths, and its public half."""

    key: KeyConfig
    public_key: bytes


@dataclass(frozen=True)
class Identity:
    """What a device shows of itself: id, key for grants and certificate request (PEM)."""

    device: str
    key: KeyRecord
    request_pem: bytes


def create_identity(
    folder: Path, device: str, disk: Disk = REAL_DISK, key: KeyConfig | None = None
) -> Identity:
    """Make the identity of `device` in `folder`; keys that are already there are kept.

    `key` says where the key for grants is to live, by default in the file `device.key`; relative paths are below
    `folder`.

    Raises:
        StorageError: It cannot be written.
        ConfigError: An existing key is exposed or malformed, or the key store cannot be loaded.
        KeyUnavailableError: An existing key cannot be read, or the key store cannot be used.
    """
    disk.make_dirs(folder)
    if not disk.exists(folder / TLS_KEY):
        FileKey.create(folder / TLS_KEY, disk)
    if not disk.exists(folder / KEY_RECORD):
        config = located(key or FileKeyConfig(path=DEVICE_KEY), folder.absolute())
        made = key_store(config, disk).create()
        record = KeyRecord(key=config, public_key=made.public_bytes)
        disk.write_atomic(folder / KEY_RECORD, to_json(record), 0o644)
    identity = load_identity(folder, device, disk)
    disk.write_atomic(folder / TLS_REQUEST, identity.request_pem, 0o644)
    return identity


def load_identity(folder: Path, device: str, disk: Disk = REAL_DISK) -> Identity:
    """Return the identity in `folder`, with a fresh certificate request.

    Raises:
        StorageError: There is none.
        ConfigError: A key is exposed or malformed.
        KeyUnavailableError: A key is missing or cannot be read.
    """
    path = folder / KEY_RECORD
    try:
        record = parse_json(disk.read(path, _LIMIT), KeyRecord)
    except Malformed as error:
        raise ConfigError(f"{path}: {error}", code="key.malformed") from error
    return Identity(device, record, certificate_request(load_private(folder / TLS_KEY), device))


def certificate_request(private: ec.EllipticCurvePrivateKey, device: str) -> bytes:
    """Return a request (PKCS#10, PEM) for a certificate of `device` with this key."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, device)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return builder.sign(private, hashes.SHA256()).public_bytes(Encoding.PEM)
