"""Enrolment over HTTPS: what a device would carry on a stick, it asks for and sends.

| address | asked with | answer |
| --- | --- | --- |
| `GET /ca` | | the fleet's authority (PEM); the device knows it by its ticket's fingerprint |
| `POST /invitation` | `{"token": …}` | `Bundle`: what the device is offered |
| `POST /enrol` | `JoinRequest` | `Admitted`: its certificate; the token is used up |

Refusals are JSON with code and message: 400 for what is no request, 403 for a token or key that is not good, 429 after
five of them from one address within a minute, 503 when the registry cannot be used.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from agent.errors import StorageError, TrustError
from agent.fleet.bundle import Admitted, Bundle, JoinRequest
from agent.fleet.enrolment import Site, admit_request, terms_of
from agent.fleet.home import FleetHome
from agent.host.clock import wall_ms
from agent.schema.document import trusted_json
from agent.schema.values import Struct
from agent.web.access import Failures
from agent.web.answers import json_answer, refusal
from agent.web.bodies import read_body
from agent.web.guard import client_address

log = logging.getLogger(__name__)
_BODY_LIMIT = 32 * 1024  # bytes
_MALFORMED = "trust.malformed"
Answer = Callable[[bytes], Struct]


class TokenShown(Struct):
    """What a device that has nothing else shows."""

    token: str


class EnrolmentService:
    """The application.

    Args:
        home: The fleet.
        site: What its devices are told.
        admitted: Called after a device was admitted, so that brokers learn of it.
    """

    def __init__(self, home: FleetHome, site: Site, admitted: Callable[[], None]) -> None:
        self._home = home
        self._site = site
        self._admitted = admitted
        self._failures = Failures()

    def application(self) -> Starlette:
        """Return what `agent.web.serving.WebServer` serves."""
        routes = [
            Route("/ca", self._authority),
            Route("/invitation", self._road(self._invitation), methods=["POST"]),
            Route("/enrol", self._road(self._enrol), methods=["POST"]),
        ]
        return Starlette(routes=routes)

    async def _authority(self, _: Request) -> Response:
        return Response(self._home.authority.ca_pem, media_type="application/x-pem-file")

    def _invitation(self, body: bytes) -> Bundle:
        token = trusted_json(body, TokenShown, "request").token
        invitation = self._home.registry.tokens.look(token, wall_ms())
        return Bundle(
            terms=terms_of(invitation, self._site, token),
            ca=self._home.authority.ca_pem.decode(),
            root=self._site.root.decode(),
        )

    def _enrol(self, body: bytes) -> Admitted:
        home = self._home
        asked = trusted_json(body, JoinRequest, "request")
        record, issued = admit_request(asked, home.registry, home.authority, home.life)
        log.info("%s enrolled in class %s", record.id, record.device_class)
        self._admitted()
        return Admitted(certificate=issued.cert_pem.decode())

    def _road(self, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
        async def respond(request: Request) -> Response:
            address, now_s = client_address(request.scope), time.monotonic()
            if wait_s := self._failures.wait_s(address, now_s):
                retry = {"Retry-After": str(int(wait_s) + 1)}
                return refusal(429, "attempts", "too many refused requests; wait", **retry)
            body = await read_body(request, _BODY_LIMIT)
            if isinstance(body, Response):
                return body
            try:
                return json_answer(await run_in_threadpool(answer, body))
            except TrustError as error:
                self._failures.add(address, now_s)
                log.warning("enrolment from %s refused: %s", address, error)
                return refusal(400 if error.code == _MALFORMED else 403, error.code, str(error))
            except StorageError as error:
                log.error("enrolment from %s not answered: %s", address, error)
                return refusal(503, error.code, "the registry cannot be used; try again")

        return respond
