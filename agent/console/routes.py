"""The console's addresses, as one Starlette application.

| address | answer |
| --- | --- |
| `/` and the page's files | the page; one route each, so no path can reach another file |
| `/login`, `/logout` | form and its check; the way out |
| `/api/status` | the snapshot, configured cameras, latest update reports, governor's moves and drift |
| `/api/events?after=N` | object events newer than number N, with the newest number |
| `/api/history?after=N` | figures of the last hour for the charts |
| `/api/log?after=N&level=L` | lines of the agent's log, of at least level L |
| `/api/doctor` | what the doctor finds |
| `/api/places`, `/api/places/<camera>` | zones, lines and masks of all cameras; PUT changes one camera's |
| `/api/kept-events…`, `/event/<id>/…` | events that are kept, with filters; their pictures and clips |
| `/api/shadow`, `/shadow/<file>` | the newest shadow run: progress and findings; pictures of the greatest disagreement |
| `/stream/a,b` | server-sent events: pictures with boxes of these cameras |
| `/frame/<camera>.jpg` | the newest picture |
| `/healthz` | 200 while the worker is heard, 503 with reasons otherwise |
| `/metrics` | Prometheus |
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from agent.console.candidate import Candidate
from agent.console.examination import Examination
from agent.console.history import Point
from agent.console.journal import LEVELS, LogMemory
from agent.console.kept import KeptEvents
from agent.console.live import LiveStream, Shared, Viewers, shared_views
from agent.console.metrics import CONTENT_TYPE, exposition
from agent.console.places import PlaceDesk, no_camera
from agent.console.sources import Recent, Sources
from agent.errors import VigilError
from agent.schema.drift import DriftNotice
from agent.schema.events import Event
from agent.schema.governor import GovernorMove
from agent.schema.messages import Role, UpdateReport
from agent.schema.snapshot import Snapshot
from agent.web.access import Access
from agent.web.answers import json_answer, number_in, refusal
from agent.web.application import page_application

STATUS_INTERVAL_S = 0.5
HEARTBEAT_FRESH_S = 5.0


@dataclass(frozen=True)
class Memory:
    """What the console remembers of the recent past."""

    events: Recent[Event]
    updates: Recent[UpdateReport]
    moves: Recent[GovernorMove]
    drifts: Recent[DriftNotice]
    history: Recent[Point]
    log: LogMemory


def application(sources: Sources, memory: Memory, viewers: Viewers, access: Access) -> Starlette:
    """Return the application; every request must still pass `agent.web.guard.Guard`."""
    answers = _Answers(sources, memory, viewers, access)
    routes = [
        Route("/api/status", answers.status),
        Route("/api/events", answers.events),
        Route("/api/history", answers.history),
        Route("/api/log", answers.log),
        Route("/api/doctor", Examination(sources.doctor).answer),
        Route("/api/places", answers.places.show),
        Route("/api/places/{camera}", answers.places.save, methods=["PUT"]),
        *KeptEvents(sources.archive).routes(),
        *Candidate(sources.shadow).routes(),
        Route("/stream/{cameras}", answers.stream),
        Route("/frame/{camera}.jpg", answers.frame),
        Route("/healthz", answers.health),
        Route("/metrics", answers.metrics),
    ]
    return page_application(Path(__file__).with_name("page"), access, routes, _explain)


class _Answers:
    def __init__(self, sources: Sources, memory: Memory, viewers: Viewers, access: Access) -> None:
        self._cameras = tuple(sources.cameras)
        self.places = PlaceDesk(sources.cameras, sources.settings)
        self._memory = memory
        self._viewers = viewers
        self._access = access
        self._status = Shared(sources.status, STATUS_INTERVAL_S)
        self._views = shared_views(self._cameras, sources.grab)

    async def status(self, request: Request) -> Response:
        snapshot = await self._status.newest()
        role: Role = request.state.role
        return json_answer(
            {
                "snapshot": snapshot,
                "healthy": not reasons_degraded(snapshot),
                "cameras": self._cameras,
                "updates": self._memory.updates.since(0)[1][::-1],
                "moves": self._memory.moves.since(0)[1][::-1],
                "drifts": self._memory.drifts.since(0)[1][::-1],
                "role": role,
                "settings": self.places.standing,
                "places_version": self.places.version,
                "may_log_in": self._access.has_tokens,
                "may_log_out": role is not self._access.anonymous,
            }
        )

    async def events(self, request: Request) -> Response:
        number, events = self._memory.events.since(number_in(request, "after"))
        return json_answer({"number": number, "events": events})

    async def history(self, request: Request) -> Response:
        number, points = self._memory.history.since(number_in(request, "after"))
        return json_answer({"number": number, "points": points})

    async def log(self, request: Request) -> Response:
        level = request.query_params.get("level", "debug")
        if level not in LEVELS:
            raise HTTPException(400, f"expected one of {', '.join(LEVELS)} in ?level=")
        number, lines = self._memory.log.since(number_in(request, "after"), level)
        return json_answer({"number": number, "lines": lines})

    async def stream(self, request: Request) -> Response:
        names = set(request.path_params["cameras"].split(","))
        if unknown := sorted(names - set(self._cameras)):
            return no_camera(unknown[0])
        if self._viewers.full:
            return refusal(503, "viewers", "too many live views are open", **{"Retry-After": "5"})
        if request.method == "HEAD":
            return Response(media_type=LiveStream.media_type)
        return LiveStream({name: self._views[name] for name in sorted(names)}, self._viewers)

    async def frame(self, request: Request) -> Response:
        name = request.path_params["camera"]
        if name not in self._views:
            return no_camera(name)
        picture = await self._views[name].newest()
        return Response(picture.jpeg, media_type="image/jpeg")

    async def health(self, _: Request) -> Response:
        try:
            reasons = reasons_degraded(await self._status.newest())
        except VigilError as error:
            reasons = [error.code]
        if not reasons:
            return json_answer({"status": "ok"})
        return json_answer({"status": "degraded", "reasons": reasons}, 503)

    async def metrics(self, _: Request) -> Response:
        snapshot = replace(await self._status.newest(), viewers=self._viewers.open)
        return Response(exposition(snapshot), headers={"Content-Type": CONTENT_TYPE})


def reasons_degraded(snapshot: Snapshot) -> list[str]:
    """Return why the device does not see: empty while the worker is heard."""
    if snapshot.heartbeat_age_s is None:
        return ["worker.none"]
    return ["worker.silent"] if snapshot.heartbeat_age_s > HEARTBEAT_FRESH_S else []


def _explain(error: VigilError) -> str:
    return error.message
