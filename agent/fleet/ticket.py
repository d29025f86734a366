"""A ticket: one line by which a device that has nothing yet finds its controller, knows it, and is known.

    https://HOST:PORT/#FINGERPRINT.TOKEN

The fingerprint is the SHA-256 of the fleet's authority certificate (DER), so that nobody in between can pose as
the controller; the token is the device's own, good once. Treat it like a password.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from agent.errors import TrustError

_SECRETS = re.compile(r"(?P<fingerprint>[0-9a-f]{64})\.(?P<token>[0-9A-Za-z_-]{8,128})")


@dataclass(frozen=True)
class Ticket:
    """Where to enrol, how to know that it is the right place, and the token."""

    host: str
    port: int
    fingerprint: str
    token: str = field(repr=False)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"https://{host}:{self.port}/#{self.fingerprint}.{self.token}"


def read_ticket(text: str) -> Ticket:
    """Read a ticket's line.

    Raises:
        TrustError: It is none (`trust.ticket`); the message does not repeat it.
    """
    message = "ticket: expected one line https://HOST:PORT/#FINGERPRINT.TOKEN"
    hint = "take the file `ticket` that `vigil fleet enrol-token` wrote"
    try:
        parts = urlsplit(text.strip())
        found = _SECRETS.fullmatch(parts.fragment)
        if parts.scheme == "https" and parts.hostname and parts.port and found:
            return Ticket(parts.hostname, parts.port, found["fingerprint"], found["token"])
    except ValueError as error:
        raise TrustError(message, code="trust.ticket", hint=hint) from error
    raise TrustError(message, code="trust.ticket", hint=hint)


def fingerprint(ca_pem: bytes) -> str:
    """Return the SHA-256 of a certificate (PEM), hexadecimal.

    Raises:
        TrustError: It is no certificate.
    """
    try:
        certificate = x509.load_pem_x509_certificate(ca_pem)
    except ValueError as error:
        message = "the fleet's authority: expected a certificate in PEM, found something else"
        raise TrustError(message, code="trust.malformed") from error
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()


def check_authority(ca_pem: bytes, ticket: Ticket) -> None:
    """Refuse an authority that is not the ticket's.

    Raises:
        TrustError: It is another (`trust.authority`).
    """
    if not hmac.compare_digest(fingerprint(ca_pem), ticket.fingerprint):
        message = (
            f"{ticket.host}:{ticket.port} shows another fleet's authority than the ticket names"
        )
        hint = "is the ticket of this fleet? If so, somebody is in between: do not go on"
        raise TrustError(message, code="trust.authority", hint=hint)
