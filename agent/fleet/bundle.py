"""The bundle: one folder by which a device joins a fleet, and what it holds.

```
controller  invite()  invitation.json (with a one-time token), ca.crt, root.json
device      request() request.json: certificate request and public key; the private keys stay on the device
controller  admit()   device.crt
device      join()    identity folder and vigil.yaml
```
The folder travels by whatever way the site trusts, a USB stick or scp; where the controller can be reached, the
device sends and receives the same documents over HTTPS (`agent.fleet.enrolment_client`). It never holds a
private key, and its token works once and for one device.
"""

from __future__ import annotations

from pathlib import Path

from agent.errors import StorageError
from agent.host.disk import REAL_DISK, Disk
from agent.schema.document import trusted_json
from agent.schema.values import Counter, Identifier, Positive, Struct

INVITATION, REQUEST, CERTIFICATE = "invitation.json", "request.json", "device.crt"
CA, ROOT, TICKET = "ca.crt", "root.json", "ticket"
DOCUMENT_LIMIT = 1 << 20  # bytes


class Terms(Struct):
    """What a device is offered: who it will be, where the broker is, and the token that proves it is meant.

    `enrol_port` is that of the controller's HTTPS on the broker's host, 0 where there is none.
    """

    device: Identifier
    device_class: Identifier
    groups: list[Identifier]
    token: str
    broker_host: str
    broker_port: Positive
    prefix: str
    bulk_port: Counter = 0
    enrol_port: Counter = 0


class JoinRequest(Struct):
    """What a device answers: token, certificate request (PEM) and public key for its grants."""

    device: Identifier
    token: str
    csr: str
    public_key: bytes


class Bundle(Struct):
    """The controller's part of a bundle, as it travels over HTTPS: certificates and documents as text."""

    terms: Terms
    ca: str
    root: str


class Admitted(Struct):
    """A device's certificate (PEM), as it travels over HTTPS."""

    certificate: str


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
    if not disk.exists(path):
        hint = "name the folder that `vigil fleet enrol-token` made"
        raise StorageError(f"{bundle}: no invitation.json", code="storage.missing", hint=hint)
    return trusted_json(disk.read(path, DOCUMENT_LIMIT), Terms, str(path))
