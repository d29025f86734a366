"""The device's side of enrolment over HTTPS: the bundle is fetched and answered instead of carried."""

from __future__ import annotations

import http.client
import json
import ssl
from pathlib import Path

from agent.errors import TransferError, TrustError
from agent.fleet.bundle import (
    CA,
    CERTIFICATE,
    DOCUMENT_LIMIT,
    INVITATION,
    REQUEST,
    ROOT,
    Admitted,
    Bundle,
    Terms,
)
from agent.fleet.ticket import Ticket, check_authority
from agent.host.disk import REAL_DISK, Disk
from agent.schema.document import to_json, trusted_json

_TIMEOUT_S = 20.0
_OK, _BUSY = 200, frozenset({429, 503})


def fetch(ticket: Ticket, bundle: Path, disk: Disk = REAL_DISK) -> None:
    """Fetch what the ticket's device is offered into `bundle`.

    Raises:
        TransferError: The controller cannot be reached or is busy: try again later.
        TrustError: It is not the ticket's fleet, or refuses the token.
        StorageError: The bundle cannot be written.
    """
    # Nothing is believed of this answer but what the fingerprint vouches for.
    unproven = ssl.create_default_context()
    unproven.check_hostname, unproven.verify_mode = False, ssl.CERT_NONE
    place = (ticket.host, ticket.port)
    ca_pem = _ask(place, unproven, "GET", "/ca")
    check_authority(ca_pem, ticket)
    proven = ssl.create_default_context(cadata=ca_pem.decode())
    shown = json.dumps({"token": ticket.token}).encode()
    data = _ask(place, proven, "POST", "/invitation", shown)
    offered = trusted_json(data, Bundle, f"{ticket.host}: invitation")
    disk.make_dirs(bundle)
    disk.write_atomic(bundle / CA, ca_pem, mode=0o644)
    disk.write_atomic(bundle / ROOT, offered.root.encode(), mode=0o644)
    disk.write_atomic(bundle / INVITATION, to_json(offered.terms))


def send_request(bundle: Path, terms: Terms, disk: Disk = REAL_DISK) -> None:
    """Send the bundle's request to its controller and put the certificate into the bundle.

    May be repeated: the controller gives the same keys their certificate again.

    Raises:
        TransferError: The controller cannot be reached or is busy: try again later.
        TrustError: It is not this fleet's, or refuses the request.
        StorageError: The bundle cannot be read or written.
    """
    authority = disk.read(bundle / CA, DOCUMENT_LIMIT).decode(errors="replace")
    try:
        context = ssl.create_default_context(cadata=authority)
    except ssl.SSLError as error:
        message = f"{bundle / CA}: expected a certificate in PEM"
        raise TrustError(message, code="trust.malformed") from error
    place = (terms.broker_host, terms.enrol_port)
    data = _ask(place, context, "POST", "/enrol", disk.read(bundle / REQUEST, DOCUMENT_LIMIT))
    admitted = trusted_json(data, Admitted, f"{terms.broker_host}: answer")
    disk.write_atomic(bundle / CERTIFICATE, admitted.certificate.encode(), mode=0o644)


def _ask(
    place: tuple[str, int], context: ssl.SSLContext, method: str, path: str, body: bytes = b""
) -> bytes:
    host, port = place
    connection = http.client.HTTPSConnection(host, port, timeout=_TIMEOUT_S, context=context)
    try:
        connection.request(method, path, body or None)
        answer = connection.getresponse()
        status, data = answer.status, answer.read(DOCUMENT_LIMIT)
    except ssl.SSLCertVerificationError as error:
        message = f"{host}:{port} is not this fleet's controller: {error.verify_message}"
        hint = "does the invitation belong to this fleet? Is the clock right?"
        raise TrustError(message, code="trust.authority", hint=hint) from error
    except (OSError, http.client.HTTPException) as error:
        message = f"enrolment at {host}:{port}: {str(error) or type(error).__name__}"
        hint = "is `vigil fleet serve` running there, and the network up? Run this again"
        raise TransferError(message, code="transfer.enrolment", hint=hint) from error
    finally:
        connection.close()
    if status != _OK:
        raise _refused(f"{host}:{port}", status, data)
    return data


def _refused(place: str, status: int, data: bytes) -> TransferError | TrustError:
    try:
        told = json.loads(data)
        code, reason = str(told["code"]), str(told["message"])
    except (ValueError, KeyError, TypeError):
        code, reason = "transfer.enrolment", f"status {status}"
    message = f"{place} refuses: {reason}"
    if status in _BUSY:
        return TransferError(message, code="transfer.enrolment", hint="run this again in a minute")
    return TrustError(
        message, code=code, hint="have a new invitation made: vigil fleet enrol-token"
    )
