"""Renewal of a device's client certificate, as it crosses the broker."""

from __future__ import annotations

from agent.schema.messages import CommandId
from agent.schema.values import Struct


class CertificateRequest(Struct):
    """Device asks for a new client certificate before its own ends, with a PKCS#10 request (PEM), at `…/crt/req`."""

    v: int
    id: CommandId
    csr: str


class CertificateReply(Struct):
    """`status` 200 with the certificate (PEM), 400 no such request, 403 revoked, 503 busy; at `…/crt/rsp`."""

    v: int
    id: CommandId
    status: int
    certificate: str = ""
    message: str = ""
