"""Live view: one grab per camera and interval, shared by all viewers, sent as server-sent events.

Format of the stream: https://html.spec.whatwg.org/multipage/server-sent-events.html. A `frame` event is
one JSON object with the JPEG (base64) and the boxes that belong to exactly that picture; a `problem`
event says why a camera shows nothing. One stream may carry several cameras, because browsers open only
six connections to a host.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from agent.console.sources import Grab
from agent.errors import VigilError

T = TypeVar("T")
FRAME_INTERVAL_S = 0.125
MAX_WIDTH = 960
JPEG_QUALITY = 70
MAX_VIEWERS = 8


class Shared(Generic[T]):
    """The newest result of a blocking `fetch`, at most `interval_s` old and fetched once at a time.

    Failures are shared like results, so that many viewers do not hammer a camera that is gone.
    """

    def __init__(self, fetch: Callable[[], T], interval_s: float) -> None:
        self._fetch = fetch
        self._interval_s = interval_s
        self._lock = asyncio.Lock()
        self._due_s = float("-inf")
        self._result: T | VigilError | None = None

    async def newest(self) -> T:
        """Return the shared result, fetching when it is older than the interval.

        Raises:
            VigilError: The fetch failed, now or less than an interval ago.
        """
        async with self._lock:
            loop = asyncio.get_running_loop()
            if self._result is None or loop.time() >= self._due_s:
                self._due_s = loop.time() + self._interval_s
                self._result = await run_in_threadpool(self._outcome)
            result = self._result
        if isinstance(result, VigilError):
            raise result
        return result

    async def until_due(self) -> None:
        """Wait until the next fetch may happen."""
        await asyncio.sleep(max(0.01, self._due_s - asyncio.get_running_loop().time()))

    def _outcome(self) -> T | VigilError:
        try:
            return self._fetch()
        except VigilError as error:
            return error


@dataclass(frozen=True)
class Picture:
    """One grabbed frame: its JPEG, and the ready-made event that shows it to every viewer."""

    jpeg: bytes
    event: bytes


def shared_views(cameras: Sequence[str], grab: Grab) -> dict[str, Shared[Picture]]:
    """Return the shared view of every camera by name."""

    def view(camera: str) -> Shared[Picture]:
        return Shared(lambda: _picture(camera, grab), FRAME_INTERVAL_S)

    return {camera: view(camera) for camera in cameras}


def _picture(camera: str, grab: Grab) -> Picture:
    found, jpeg = grab(camera, MAX_WIDTH, JPEG_QUALITY)
    shown = {
        "camera": camera,
        "frame": found.frame,
        "captured_ms": found.captured_ms,
        "width": found.width,
        "height": found.height,
        "boxes": found.boxes,
        "jpeg": jpeg,
    }
    return Picture(jpeg, _event("frame", shown))


def _event(kind: str, data: Mapping[str, object]) -> bytes:
    return f"event: {kind}\ndata: ".encode() + msgspec.json.encode(data) + b"\n\n"


@dataclass
class Viewers:
    """How many live streams are open; `stopping` ends them all."""

    open: int = 0
    stopping: bool = False

    @property
    def full(self) -> bool:
        """Whether one more viewer would be too many."""
        return self.open >= MAX_VIEWERS


class LiveStream(StreamingResponse):
    """One viewer's stream; its place among the viewers is free again when it ends, however it ends."""

    media_type = "text/event-stream"

    def __init__(self, views: Mapping[str, Shared[Picture]], viewers: Viewers) -> None:
        super().__init__(_events(views, viewers), headers={"X-Accel-Buffering": "no"})
        self._viewers = viewers
        viewers.open += 1

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream until the viewer leaves or the console stops."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._viewers.open -= 1


async def _events(
    views: Mapping[str, Shared[Picture]], viewers: Viewers
) -> AsyncGenerator[bytes, None]:
    """Yield what is new of all cameras, round by round; a slow reader misses pictures, never queues them."""
    sent: dict[str, bytes] = {}
    while not viewers.stopping:
        newest = await asyncio.gather(*(_newest_event(*item) for item in views.items()))
        fresh = {name: event for name, event in newest if sent.get(name) != event}
        sent |= fresh
        # The comment line keeps the connection known to be alive, and finds out when it is not.
        yield b"".join(fresh.values()) or b":\n\n"
        await asyncio.gather(*(view.until_due() for view in views.values()))


async def _newest_event(camera: str, view: Shared[Picture]) -> tuple[str, bytes]:
    try:
        return camera, (await view.newest()).event
    except VigilError as error:
        shown = {"camera": camera, "code": error.code, "message": error.message}
        return camera, _event("problem", shown)
