"""How a device joins a fleet by exchanging one folder, the bundle, in three steps.

```
controller  invite()  invitation.json (with a one-time token), ca.crt, root.json
device      request() request.json: certificate request and public key; the private keys stay on the device
controller  admit()   device.crt
device      join()    identity folder and vigil.yaml
```
The folder travels by whatever way the site trusts, a USB stick or scp. It never holds a private key, and
its token works once and for one device.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import yaml
from cryptography import x509

from agent.errors import ConfigError, TrustError
from agent.fleet.access import BULK_SUFFIX, CONTROLLER
from agent.fleet.authority import FleetAuthority
from agent.fleet.registry import DeviceRecord, Invitation, Registry
from agent.host.clock import wall_ms
from agent.host.disk import REAL_DISK, Disk
from agent.schema.config import CONFIG_SCHEMA
from agent.schema.document import to_json, trusted_json
from agent.schema.keystore import FileKeyConfig, KeyConfig, located
from agent.schema.topics import DEFAULT_PREFIX
from agent.schema.values import Counter, Identifier, Positive, Struct
from agent.trust.grant import check_public
from agent.trust.identity import DEVICE_KEY, TLS_KEY, create_identity, load_identity

INVITATION, REQUEST, CERTIFICATE = "invitation.json", "request.json", "device.crt"
CA, ROOT = "ca.crt", "root.json"
IDENTITY_FOLDER, CONFIG_FILE = "identity", "vigil.yaml"
TOKEN_LIFE_MS = 7 * 24 * 3600 * 1000
_LIMIT = 1 << 20


class Terms(Struct):
    """What a device is offered: who it will be, where the broker is, and the token that proves it is meant."""

    device: Identifier
    device_class: Identifier
    groups: list[Identifier]
    token: str
    broker_host: str
    broker_port: Positive
    prefix: str
    bulk_port: Counter = 0


class JoinRequest(Struct):
    """What a device answers: token, certificate request (PEM) and public key for its grants."""

    device: Identifier
    token: str
    csr: str
    public_key: bytes


@dataclass(frozen=True)
class Site:
    """What all devices of a fleet are told: broker, topic prefix, and the TUF root they start from.

    `bulk_port` is that of the broker for transfers on the same host, 0 where there is none.
    """

    broker_host: str
    broker_port: int
    root: bytes
    prefix: str = DEFAULT_PREFIX
    bulk_port: int = 0


def invite(
    bundle: Path,
    registry: Registry,
    authority: FleetAuthority,
    invitation: Invitation,
    site: Site,
    disk: Disk = REAL_DISK,
) -> None:
    """Write a new bundle with a token for one device, good for seven days.

    Raises:
        ConfigError: The device's name is taken by the fleet itself.
        StorageError: The bundle or the registry cannot be written.
    """
    _check_name(invitation.device)
    terms = Terms(
        device=invitation.device,
        device_class=invitation.device_class,
        groups=list(invitation.groups),
        token=secrets.token_urlsafe(24),
        broker_host=site.broker_host,
        broker_port=site.broker_port,
        prefix=site.prefix,
        bulk_port=site.bulk_port,
    )
    data = to_json(terms)
    trusted_json(data, Terms, "invitation")
    registry.put_token(terms.token, invitation, wall_ms() + TOKEN_LIFE_MS)
    disk.make_dirs(bundle)
    disk.write_atomic(bundle / CA, authority.ca_pem, mode=0o644)
    disk.write_atomic(bundle / ROOT, site.root, mode=0o644)
    disk.write_atomic(bundle / INVITATION, data)


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


def admit(
    bundle: Path, registry: Registry, authority: FleetAuthority, disk: Disk = REAL_DISK
) -> DeviceRecord:
    """Check the request in the bundle, use up its token, register the device and add its certificate.

    Raises:
        TrustError: The token is not good for this device, or request or key are malformed.
        StorageError: The bundle or the registry cannot be read or written.
    """
    data = disk.read(bundle / REQUEST, _LIMIT)
    asked = trusted_json(data, JoinRequest, str(bundle / REQUEST))
    check_public(asked.public_key)
    issued = authority.sign_csr(asked.csr.encode(), asked.device)
    invitation = registry.redeem(asked.token, asked.device, wall_ms())
    record = DeviceRecord(
        id=invitation.device,
        device_class=invitation.device_class,
        groups=invitation.groups,
        public_key=asked.public_key,
        serial=issued.serial,
        enrolled_ms=wall_ms(),
    )
    registry.put_device(record)
    disk.write_atomic(bundle / CERTIFICATE, issued.cert_pem, mode=0o644)
    return record


def join(bundle: Path, folder: Path, disk: Disk = REAL_DISK) -> Path:
    """Take the certificate from the bundle into `folder/identity` and write `folder/vigil.yaml`.

    Returns:
        The path of the configuration file; one that is there already is kept.

    Raises:
        TrustError: The certificate is not for this device's key and name.
        StorageError: The bundle has no certificate yet, or a file cannot be written.
    """
    terms = read_terms(bundle, disk)
    place = folder / IDENTITY_FOLDER
    certificate = disk.read(bundle / CERTIFICATE, _LIMIT)
    identity = load_identity(place, terms.device, disk)
    _match(certificate, identity.request_pem, terms.device)
    for name, data in (
        (CERTIFICATE, certificate),
        (CA, disk.read(bundle / CA, _LIMIT)),
        (ROOT, disk.read(bundle / ROOT, _LIMIT)),
    ):
        disk.write_atomic(place / name, data, mode=0o644)
    path = folder / CONFIG_FILE
    if not disk.exists(path):
        disk.write_atomic(
            path, skeleton(terms, _written(identity.key.key, place)).encode(), mode=0o644
        )
    return path


def has_certificate(bundle: Path, disk: Disk = REAL_DISK) -> bool:
    """Return whether the controller has admitted the device of this bundle."""
    return disk.exists(bundle / CERTIFICATE)


def read_terms(bundle: Path, disk: Disk = REAL_DISK) -> Terms:
    """Read the invitation of a bundle.

    Raises:
        TrustError: It is malformed.
        StorageError: There is none.
    """
    path = bundle / INVITATION
    return trusted_json(disk.read(path, _LIMIT), Terms, str(path))


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


def _check_name(device: str) -> None:
    # A device of such a name could take over another client's connection.
    if device.startswith(CONTROLLER) or device.endswith(BULK_SUFFIX):
        message = f"device {device}: names that begin with {CONTROLLER} or end with {BULK_SUFFIX} are taken"
        raise ConfigError(message, hint="choose another id")


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
