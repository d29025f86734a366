"""Renews the device's client certificate over the link before it ends; the link takes the new file by itself.

The key stays: only the certificate is replaced, in one step, so that there is no moment at which the two do not
belong together.
"""

from __future__ import annotations

import logging
import random
import secrets
import threading
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Protocol

from cryptography import x509

from agent.errors import TransferError, TrustError, VigilError
from agent.host.disk import REAL_DISK, Disk
from agent.schema.certificates import CertificateReply, CertificateRequest
from agent.schema.config import TlsConfig
from agent.schema.document import Malformed, parse_json, to_json
from agent.schema.messages import MESSAGE_VERSION
from agent.trust.identity import certificate_request
from agent.trust.keys import load_private

log = logging.getLogger(__name__)
LEFT = 3  # a certificate is renewed when a third of its life is left
_LIMIT = 64 * 1024
_LOOK_S, _STEP_S = 60.0, 1.0
_ANSWER_S = 60.0
_AGAIN_S = (120.0, 3600.0)
_OK, _REVOKED = 200, 403


class Channel(Protocol):
    """The device's `crt` channel, see `agent.control.link.channels`."""

    def send(self, body: bytes) -> None:
        """Send one request; `TransferError` while offline."""

    def receive(self, timeout_s: float) -> bytes | None:
        """Return the next response, None when there is none in time."""


class Renewal:
    """A loop that looks every minute whether the certificate must be renewed.

    Args:
        device: This device's id.
        tls: Names certificate and key.
        channel: The `crt` channel.
        disk: Where the certificate lies.
        now: The time.
    """

    def __init__(
        self,
        device: str,
        tls: TlsConfig,
        channel: Channel,
        disk: Disk = REAL_DISK,
        now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
    ) -> None:
        self._device = device
        self._cert, self._key = Path(tls.cert), Path(tls.key)
        self._channel = channel
        self._disk = disk
        self._now = now

    def run(self, stop: threading.Event) -> None:
        """Renew when due, until told to stop; what fails is tried again, more and more slowly."""
        pause_s = 0.0
        while not stop.is_set():
            try:
                renewed = not self.is_due() or self.renew(stop)
            except VigilError as error:
                log.warning("the certificate is not renewed: %s", error)
                renewed = False
            pause_s = 0.0 if renewed else min(max(2 * pause_s, _AGAIN_S[0]), _AGAIN_S[1])
            # Spread: devices that came up together must not all ask at once.
            _rest(stop, pause_s * random.uniform(0.75, 1.25) or _LOOK_S)  # noqa: S311 - no secret

    def is_due(self) -> bool:
        """Return whether less than a third of the certificate's life is left.

        Raises:
            StorageError: It cannot be read.
            TrustError: It is no certificate.
        """
        certificate = _read(self._disk.read(self._cert, _LIMIT))
        ends, starts = certificate.not_valid_after_utc, certificate.not_valid_before_utc
        return ends - self._now() < (ends - starts) / LEFT

    def renew(self, stop: threading.Event) -> bool:
        """Ask for a certificate and put it in the place of the old one; return whether one came.

        Raises:
            TrustError: The controller refuses, or sent a certificate for another key or name.
            KeyUnavailableError, ConfigError: The key cannot be read.
            StorageError: The certificate cannot be written.
        """
        csr = certificate_request(load_private(self._key), self._device)
        asked = CertificateRequest(
            v=MESSAGE_VERSION, id=secrets.token_hex(8), csr=csr.decode("ascii")
        )
        try:
            self._channel.send(to_json(asked))
        except TransferError:
            return False
        reply = self._await(asked.id, stop)
        if reply is None:
            return False
        if reply.status != _OK:
            log.info("the controller gives no certificate: %s", reply.message)
            return False
        self._take(reply.certificate.encode(), csr)
        return True

    def _await(self, identity: str, stop: threading.Event) -> CertificateReply | None:
        for _ in range(int(_ANSWER_S / _STEP_S)):
            if stop.is_set():
                return None
            payload = self._channel.receive(_STEP_S)
            try:
                reply = parse_json(payload, CertificateReply) if payload is not None else None
            except Malformed:
                continue
            if reply is not None and reply.id == identity:
                return reply
        return None

    def _take(self, pem: bytes, csr: bytes) -> None:
        new, own = _read(pem), x509.load_pem_x509_csr(csr)
        if new.public_key() != own.public_key() or new.subject != own.subject:
            message = "the controller sent a certificate for another key or name"
            raise TrustError(message, code="trust.bad_certificate")
        if (
            new.not_valid_after_utc
            <= _read(self._disk.read(self._cert, _LIMIT)).not_valid_after_utc
        ):
            message = "the controller sent a certificate that ends no later than the present one"
            raise TrustError(message, code="trust.bad_certificate")
        self._disk.write_atomic(self._cert, pem, mode=0o644)
        log.info("the certificate was renewed, until %s", f"{new.not_valid_after_utc:%Y-%m-%d}")


def _read(pem: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        message = "expected a certificate in PEM, found something else"
        raise TrustError(message, code="trust.malformed") from error


def _rest(stop: threading.Event, seconds: float) -> None:
    """Wait in steps that show the watchdog a sign of life."""
    for _ in range(max(1, int(seconds / _LOOK_S))):
        if stop.wait(min(seconds, _LOOK_S)):
            return
