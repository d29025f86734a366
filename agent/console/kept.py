"""The events that the device keeps: lists with filters, one event, its pictures and its clip."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from agent.console.sources import Archive
from agent.schema.events import EventRecord
from agent.web.answers import json_answer, number_in, refusal

MAX_RECORDS = 100
# Events that one answer looks through: filters that the index does not know must not read all of it.
MAX_READ = 2000
_BATCH = 200
_LATEST_MS = 2**53


@dataclass(frozen=True)
class Wish:
    """Which events: `zone` also takes a line's name, `since_ms` and `before_ms` are Unix milliseconds."""

    limit: int
    camera: str | None
    label: str | None
    zone: str
    pictured: bool
    since_ms: int
    before_ms: int

    def wants(self, record: EventRecord) -> bool:
        """Return whether an event passes what the index does not filter by."""
        pictured = record.has_snapshot or record.has_thumbnail or not self.pictured
        return pictured and (not self.zone or self.zone in record.event.entered_zones)


class KeptEvents:
    """Answers for kept events.

    Args:
        archive: Where they are; None where none are kept.
    """

    def __init__(self, archive: Archive | None) -> None:
        self._archive = archive

    def routes(self) -> list[Route]:
        """Return the addresses."""
        return [
            Route("/api/kept-events", self._list),
            Route("/api/kept-events/{id}", self._one),
            Route("/event/{id}/{kind}.jpg", self._picture),
            Route("/event/{id}/clip.avi", self._clip),
        ]

    async def _list(self, request: Request) -> Response:
        asked = request.query_params
        wish = Wish(
            limit=max(1, min(number_in(request, "limit", 50), MAX_RECORDS)),
            camera=asked.get("camera") or None,
            label=asked.get("label") or None,
            zone=asked.get("zone", ""),
            pictured=asked.get("pictured") == "1",
            since_ms=number_in(request, "since_ms"),
            before_ms=number_in(request, "before_ms", _LATEST_MS // 10),
        )
        if self._archive is None:
            return json_answer({"records": [], "more": False})
        records = await run_in_threadpool(_first, self._archive, wish)
        return json_answer({"records": records[: wish.limit], "more": len(records) > wish.limit})

    async def _one(self, request: Request) -> Response:
        if self._archive is not None:
            record = await run_in_threadpool(self._archive.event, request.path_params["id"])
            if record is not None:
                return json_answer(record)
        return refusal(404, "event", "this event is not kept, or not any more")

    async def _picture(self, request: Request) -> Response:
        archive = self._archive
        kinds = {"snapshot": archive.snapshot, "thumbnail": archive.thumbnail} if archive else {}
        read = kinds.get(request.path_params["kind"])
        data = await run_in_threadpool(read, request.path_params["id"]) if read else None
        return jpeg_answer(data)

    async def _clip(self, request: Request) -> Response:
        archive = self._archive
        data = await run_in_threadpool(archive.clip, request.path_params["id"]) if archive else None
        return _file(data, "video/x-msvideo")


def _first(archive: Archive, wish: Wish) -> list[EventRecord]:
    """Return the newest events that pass, one more than asked for where there are more."""
    found = []
    for record in _newest(archive, wish):
        if record.event.start_ms < wish.since_ms:
            break
        if wish.wants(record):
            found.append(record)
        if len(found) > wish.limit:
            break
    return found


def _newest(archive: Archive, wish: Wish) -> Iterator[EventRecord]:
    before_ms = wish.before_ms
    for _ in range(MAX_READ // _BATCH):
        batch = archive.recent(_BATCH, wish.camera, wish.label, before_ms)
        yield from batch
        if len(batch) < _BATCH:
            return
        before_ms = batch[-1].event.start_ms


def jpeg_answer(data: bytes | None) -> Response:
    """Return a picture, or say that it is not kept."""
    return _file(data, "image/jpeg")


def _file(data: bytes | None, media_type: str) -> Response:
    if data is None:
        return refusal(404, "picture", "this picture is not kept, or not any more")
    # Its name is never used again, but it may be replaced by a better one while the object is there.
    return Response(data, media_type=media_type, headers={"Cache-Control": "private, max-age=5"})
