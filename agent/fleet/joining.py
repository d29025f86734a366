"""The device's side of joining: keys and request into the bundle, certificate and configuration out of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import yaml
from cryptography import x509

from agent.errors import ConfigError, TrustError
from agent.fleet.bundle import (
    CA,
    CERTIFICATE,
    DOCUMENT_LIMIT,
    REQUEST,
    ROOT,
    JoinRequest,
    Terms,
    read_terms,
)
from agent.host.disk import REAL_DISK, Disk
from agent.schema.config import CONFIG_SCHEMA
from agent.schema.document import to_json
from agent.schema.keystore import FileKeyConfig, KeyConfig, located
from agent.trust.identity import DEVICE_KEY, KEY_RECORD, TLS_KEY, create_identity, load_identity

IDENTITY_FOLDER, CONFIG_FILE = "identity", "vigil.yaml"


def request(
    bundle: Path, folder: Path, disk: Disk = REAL_DISK, key: KeyConfig | None = None
) -> Terms:
    """Make the device's keys and put its request into the bundle.

    The key for grants is made where `key` says, by default in `folder/identity`.

    Raises:
        TrustError: The invitation is malformed.
        StorageError: The bundle cannot be read or a file cannot be written.
        ConfigError: Keys that are there already are exposed or malformed.
        KeyUnavailableError: The key store cannot be used.
    """
    terms = read_terms(bundle, disk)
    place = None if key is None else located(key, folder.absolute())
    identity = create_identity(folder / IDENTITY_FOLDER, terms.device, disk, place)
    answer = JoinRequest(
        device=terms.device,
        token=terms.token,
        csr=identity.request_pem.decode(),
        public_key=identity.key.public_key,
    )
    disk.write_atomic(bundle / REQUEST, to_json(answer))
    return terms


def join(bundle: Path, folder: Path, disk: Disk = REAL_DISK) -> Path:
    """Take the certificate from the bundle into `folder/identity` and write `folder/vigil.yaml`.

    Returns:
        The path of the configuration file; one that is there already is kept.

    Raises:
        TrustError: The certificate is not for this device's key and name.
        StorageError: The bundle has no certificate yet, or a file cannot be written.
        ConfigError: The folder has no keys, or such as are exposed or malformed.
    """
    terms = read_terms(bundle, disk)
    place = folder / IDENTITY_FOLDER
    certificate = disk.read(bundle / CERTIFICATE, DOCUMENT_LIMIT)
    if not disk.exists(place / KEY_RECORD):
        message = f"{bundle}: its certificate is for the keys of another folder, {folder} has none"
        hint = "name the folder of the first time, or invite anew: vigil fleet enrol-token"
        raise ConfigError(message, hint=hint)
    identity = load_identity(place, terms.device, disk)
    _match(certificate, identity.request_pem, terms.device)
    for name, data in (
        (CERTIFICATE, certificate),
        (CA, disk.read(bundle / CA, DOCUMENT_LIMIT)),
        (ROOT, disk.read(bundle / ROOT, DOCUMENT_LIMIT)),
    ):
        disk.write_atomic(place / name, data, mode=0o644)
    path = folder / CONFIG_FILE
    if not disk.exists(path):
        disk.write_atomic(
            path, skeleton(terms, _written(identity.key.key, place)).encode(), mode=0o644
        )
    return path


def skeleton(terms: Terms, key: str | dict[str, Any]) -> str:
    """Return a configuration that connects, with this `key`; cameras are the operator's to add."""
    tree = {
        "schema": CONFIG_SCHEMA,
        "device": {"id": terms.device, "class": terms.device_class, "groups": terms.groups},
        "broker": {
            "host": terms.broker_host,
            "port": terms.broker_port,
            "prefix": terms.prefix,
            **({"bulk": {"port": terms.bulk_port}} if terms.bulk_port else {}),
            "tls": {
                "ca": f"{IDENTITY_FOLDER}/{CA}",
                "cert": f"{IDENTITY_FOLDER}/{CERTIFICATE}",
                "key": f"{IDENTITY_FOLDER}/{TLS_KEY}",
            },
        },
        "key": key,
        "trust_root": f"{IDENTITY_FOLDER}/{ROOT}",
        "cameras": [],
    }
    return yaml.safe_dump(tree, sort_keys=False)


def _written(key: KeyConfig, identity: Path) -> str | dict[str, Any]:
    """Return how the configuration names a key store; the usual file as it always did."""
    if key == FileKeyConfig(path=str(identity.absolute() / DEVICE_KEY)):
        return f"{IDENTITY_FOLDER}/{DEVICE_KEY}"
    tree: dict[str, Any] = msgspec.to_builtins(key)
    return tree


def _match(certificate_pem: bytes, request_pem: bytes, device: str) -> None:
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
    except ValueError as error:
        message = f"certificate of {device}: expected PEM, found something else"
        raise TrustError(message, code="trust.malformed") from error
    own = x509.load_pem_x509_csr(request_pem)
    if certificate.public_key() != own.public_key() or certificate.subject != own.subject:
        message = f"certificate of {device}: it is for another key or another name"
        raise TrustError(message, code="trust.bad_certificate", hint="enrol this device again")
