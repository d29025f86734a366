"""Renewal: a device that the broker knows by its certificate gets the next one before that ends.

No token is needed: the broker vouches for who asks, and a revoked device is not let in nor answered.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta

from agent.errors import TrustError
from agent.fleet.authority import FleetAuthority
from agent.fleet.keys import BAD_REQUEST, BUSY, FORBIDDEN, NO_ID, OK
from agent.fleet.registry import Registry
from agent.host.clock import wall_ms
from agent.schema.certificates import CertificateReply, CertificateRequest
from agent.schema.document import Malformed, parse_json
from agent.schema.messages import MESSAGE_VERSION

log = logging.getLogger(__name__)
_REQUEST_LIMIT = 8192  # bytes
_EVERY_MS = 60_000  # one certificate a minute is enough for a device that loses answers


class RenewalService:
    """Answers certificate requests.

    Args:
        registry: Who is registered, and where certificates are written down.
        authority: What signs them.
        life: How long they are good.
        now_ms: The time.
    """

    def __init__(
        self,
        registry: Registry,
        authority: FleetAuthority,
        life: timedelta,
        now_ms: Callable[[], int] = wall_ms,
    ) -> None:
        self._registry = registry
        self._authority = authority
        self._life = life
        self._now_ms = now_ms

    def answer(self, device: str, payload: bytes) -> CertificateReply:
        """Answer one request of `device`, the id that the broker vouches for."""
        try:
            request = _read(payload)
        except Malformed as error:
            return _reply(NO_ID, BAD_REQUEST, str(error))
        record = self._registry.device(device)
        if record is None or record.revoked:
            return _reply(request.id, FORBIDDEN, "this device is not registered, or revoked")
        now_ms = self._now_ms()
        if now_ms - self._registry.certificates.newest_ms(device) < _EVERY_MS:
            return _reply(request.id, BUSY, "a certificate was made a moment ago; ask again later")
        try:
            issued = self._authority.sign_csr(request.csr.encode(), device, self._life)
        except TrustError as error:
            return _reply(request.id, BAD_REQUEST, str(error))
        self._registry.certificates.record(device, issued, now_ms)
        self._registry.renewed(device, issued.serial)
        log.info("%s has a new certificate, %s", device, issued.serial[:12])
        certificate = issued.cert_pem.decode()
        return CertificateReply(
            v=MESSAGE_VERSION, id=request.id, status=OK, certificate=certificate
        )


def busy(payload: bytes) -> CertificateReply:
    """Return the reply that asks a device to repeat its request later."""
    try:
        return _reply(_read(payload).id, BUSY, "try again later")
    except Malformed as error:
        return _reply(NO_ID, BAD_REQUEST, str(error))


def _read(payload: bytes) -> CertificateRequest:
    if len(payload) > _REQUEST_LIMIT:
        raise Malformed("$", f"expected at most {_REQUEST_LIMIT} bytes")
    return parse_json(payload, CertificateRequest)


def _reply(identity: str, status: int, message: str) -> CertificateReply:
    return CertificateReply(v=MESSAGE_VERSION, id=identity, status=status, message=message)
