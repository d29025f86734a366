"""The controller's side of enrolment: invitations and admissions, see `agent.fleet.bundle`."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from agent.errors import ConfigError, StorageError, TrustError
from agent.fleet.access import BULK_SUFFIX, CONTROLLER
from agent.fleet.authority import DEVICE_LIFETIME, FleetAuthority, Issued, request_key
from agent.fleet.bundle import (
    CA,
    CERTIFICATE,
    DOCUMENT_LIMIT,
    INVITATION,
    REQUEST,
    ROOT,
    TICKET,
    JoinRequest,
    Terms,
)
from agent.fleet.registry import DeviceRecord, Registry
from agent.fleet.ticket import Ticket, fingerprint
from agent.fleet.tokens import Invitation
from agent.host.clock import wall_ms
from agent.host.disk import REAL_DISK, Disk
from agent.schema.document import to_json, trusted_json
from agent.schema.topics import DEFAULT_PREFIX
from agent.trust.grant import check_public

TOKEN_LIFE = timedelta(days=7)


@dataclass(frozen=True)
class Site:
    """What all devices of a fleet are told: broker, topic prefix, and the TUF root they start from.

    `bulk_port` is that of the broker for transfers and `enrol_port` that of the controller's HTTPS, both on the same
    host and 0 where there is none.
    """

    broker_host: str
    broker_port: int
    root: bytes
    prefix: str = DEFAULT_PREFIX
    bulk_port: int = 0
    enrol_port: int = 0


def invite(  # noqa: PLR0913 - who invites whom, where to, for how long
    bundle: Path,
    registry: Registry,
    authority: FleetAuthority,
    invitation: Invitation,
    site: Site,
    disk: Disk = REAL_DISK,
    *,
    life: timedelta = TOKEN_LIFE,
) -> None:
    """Write a new bundle with a token for one device; with a ticket, too, where the site enrols over HTTPS.

    Raises:
        ConfigError: A name cannot be one, the device's is taken by the fleet itself, or the bundle by an earlier invitation.
        StorageError: The bundle or the registry cannot be written.
    """
    _check_name(invitation.device)
    if disk.exists(bundle / INVITATION):
        hint = "name a new folder, or remove this one if nobody needs it any more"
        raise ConfigError(f"{bundle}: holds an earlier invitation", hint=hint)
    terms = terms_of(invitation, site, secrets.token_urlsafe(24))
    data = to_json(terms)
    try:
        trusted_json(data, Terms, "invitation")
    except TrustError as error:  # of what was asked for here: nobody is suspected
        raise ConfigError(error.message) from error
    now_ms = wall_ms()
    registry.tokens.forget_expired(now_ms)
    registry.tokens.put(terms.token, invitation, now_ms + life // timedelta(milliseconds=1))
    disk.make_dirs(bundle)
    disk.write_atomic(bundle / CA, authority.ca_pem, mode=0o644)
    disk.write_atomic(bundle / ROOT, site.root, mode=0o644)
    disk.write_atomic(bundle / INVITATION, data)
    if site.enrol_port:
        known_by = fingerprint(authority.ca_pem)
        ticket = Ticket(site.broker_host, site.enrol_port, known_by, terms.token)
        disk.write_atomic(bundle / TICKET, f"{ticket}\n".encode())


def terms_of(invitation: Invitation, site: Site, token: str) -> Terms:
    """Return what an invited device is offered."""
    return Terms(
        device=invitation.device,
        device_class=invitation.device_class,
        groups=list(invitation.groups),
        token=token,
        broker_host=site.broker_host,
        broker_port=site.broker_port,
        prefix=site.prefix,
        bulk_port=site.bulk_port,
        enrol_port=site.enrol_port,
    )


def admit(
    bundle: Path,
    registry: Registry,
    authority: FleetAuthority,
    disk: Disk = REAL_DISK,
    life: timedelta = DEVICE_LIFETIME,
) -> DeviceRecord:
    """Admit the device whose request is in the bundle, and add its certificate.

    Raises:
        TrustError: The token is not good for this device, or request or key are malformed.
        StorageError: The bundle or the registry cannot be read or written.
    """
    if not disk.exists(bundle / REQUEST):
        hint = "run `vigil enroll --bundle` on the device first, and bring the folder back"
        raise StorageError(f"{bundle}: no request.json", code="storage.missing", hint=hint)
    data = disk.read(bundle / REQUEST, DOCUMENT_LIMIT)
    asked = trusted_json(data, JoinRequest, str(bundle / REQUEST))
    record, issued = admit_request(asked, registry, authority, life)
    disk.write_atomic(bundle / CERTIFICATE, issued.cert_pem, mode=0o644)
    return record


def admit_request(
    asked: JoinRequest,
    registry: Registry,
    authority: FleetAuthority,
    life: timedelta = DEVICE_LIFETIME,
) -> tuple[DeviceRecord, Issued]:
    """Check a request, use up its token, register the device; earlier certificates of its name are revoked.

    Raises:
        TrustError: The token is not good for this device, or request or key are malformed.
        StorageError: The registry cannot be read or written.
    """
    check_public(asked.public_key)
    issued = authority.sign_csr(asked.csr.encode(), asked.device, life)
    now_ms = wall_ms()
    invitation = registry.tokens.redeem(asked.token, asked.device, _keys_of(asked), now_ms)
    record = DeviceRecord(
        id=invitation.device,
        device_class=invitation.device_class,
        groups=invitation.groups,
        public_key=asked.public_key,
        serial=issued.serial,
        enrolled_ms=now_ms,
    )
    registry.certificates.revoke(record.id)
    registry.certificates.record(record.id, issued, now_ms)
    registry.put_device(record)
    return record, issued


def _keys_of(asked: JoinRequest) -> str:
    """Return what tells a repeated request from another device's: a digest of both public keys."""
    digest = hashlib.sha256(asked.public_key)
    digest.update(request_key(asked.csr.encode()))
    return digest.hexdigest()


def _check_name(device: str) -> None:
    # A device of such a name could take over another client's connection.
    if device.startswith(CONTROLLER) or device.endswith(BULK_SUFFIX):
        message = f"device {device}: names that begin with {CONTROLLER} or end with {BULK_SUFFIX} are taken"
        raise ConfigError(message, hint="choose another id")
