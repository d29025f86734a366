"""The publishing loop: tracks, events, results and the heartbeat, in one thread of the worker."""

from __future__ import annotations

import contextlib
import queue
import threading
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from agent.host.clock import monotonic_ns, wall_ms
from agent.schema.ipc import FrameResult, Heartbeat, Message, ObjectEvent
from agent.schema.values import Box
from agent.vision.events import EventBook, Stage
from agent.vision.shapes import ranking_of, shapes_of
from agent.vision.tracking import Sighting, Tracker

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.host.seqpacket import Wire
    from agent.schema.messages import CameraReport
    from agent.vision.cameras import Frame
    from agent.vision.detector import Detected

_BACKLOG = 16
_HEARTBEAT_S = 1.0
_WAIT_S = 0.2
_FINISH_S = 2.0


@dataclass(frozen=True)
class Processed:
    """A frame after inference: `detected` is None where it failed with the code `error`.

    `queued_ms` is how long the frame waited for its turn, `finished_ns` when inference was done.
    """

    camera: str
    frame: Frame
    detected: Detected | None
    queued_ms: float
    finished_ns: int
    error: str = ""


@dataclass(frozen=True)
class Published:
    """The newest processed picture of a camera with its boxes, in its pixels."""

    frame: Frame
    boxes: list[Box]


@dataclass(frozen=True)
class _Job:
    """Work for the publishing thread: `make` gives what to send, `sent` is set afterwards."""

    make: Callable[[], list[Message]]
    sent: threading.Event


class CameraDesk:
    """What the publisher keeps for one camera: its tracks, its open events, its newest picture."""

    def __init__(self, stage: Stage, confidence: float) -> None:
        self._confidence = confidence
        self._tracker = Tracker(confidence)
        self._events = EventBook(stage)
        self.newest: Published | None = None
        self.processed = 0

    def take(self, done: Processed) -> list[Message]:
        """Return what to send for one processed frame: its result, then the events that it caused."""
        self.processed += 1
        sightings: list[Sighting] = []
        if done.detected is not None:
            width = done.frame.image.shape[1]
            sightings = self._tracker.update(done.detected, done.frame.captured_ns, width)
        boxes = [_box(seen) for seen in sightings if seen.score >= self._confidence]
        events = self._events.update(sightings, done.frame.captured_ms)
        self.newest = Published(done.frame, boxes)
        return [_result(done, boxes), *(ObjectEvent(event=event) for event in events)]

    def close(self) -> list[Message]:
        """Return the ends of all open events."""
        return [ObjectEvent(event=event) for event in self._events.close(wall_ms())]


class Publisher:
    """Sends what inference hands over; runs from the worker's start to its end.

    Args:
        wire: To the control process.
        alive: Whether every other loop makes progress; the heartbeat stops when it says no.
        reports: The cameras' health, for the heartbeat.
    """

    def __init__(
        self, wire: Wire, alive: Callable[[], bool], reports: Callable[[], list[CameraReport]]
    ) -> None:
        self._wire = wire
        self._alive = alive
        self._reports = reports
        self._handed: queue.Queue[_Job] = queue.Queue(_BACKLOG)
        self._sent_ns = 0

    def hand(self, desk: CameraDesk, done: Processed) -> None:
        """Hand over a frame; when the control process reads too slowly the oldest one is dropped."""
        job = _Job(partial(desk.take, done), threading.Event())
        while self._handed.full():
            with contextlib.suppress(queue.Empty):
                self._handed.get_nowait()
        self._handed.put_nowait(job)

    def finish(self, desk: CameraDesk) -> None:
        """Send the ends of a camera's open events after all that was handed over before."""
        job = _Job(desk.close, threading.Event())
        self._handed.put(job, timeout=_FINISH_S)
        job.sent.wait(_FINISH_S)

    def run(self, stop: threading.Event) -> None:
        """Publish until `stop` is set.

        Raises:
            WireClosedError: The control process is gone.
        """
        while not stop.is_set():
            try:
                job = self._handed.get(timeout=_WAIT_S)
            except queue.Empty:
                pass
            else:
                self._publish(job)
            self._beat()

    def _publish(self, job: _Job) -> None:
        for message in job.make():
            self._wire.send(message)
        job.sent.set()

    def _beat(self) -> None:
        now_ns = monotonic_ns()
        if now_ns - self._sent_ns >= _HEARTBEAT_S * 1e9 and self._alive():
            self._sent_ns = now_ns
            self._wire.send(Heartbeat(at_ns=now_ns, cameras=self._reports()))


def _box(seen: Sighting) -> Box:
    corners = [round(side, 2) for side in seen.box]
    return Box(
        label=seen.label,
        score=round(seen.score, 4),
        x_min=corners[0],
        y_min=corners[1],
        x_max=corners[2],
        y_max=corners[3],
        track=seen.track,
    )


def _result(done: Processed, boxes: list[Box]) -> FrameResult:
    stages_ms = {"capture": done.frame.capture_ms, "queue": done.queued_ms}
    stages_ms.update(done.detected.stages_ms if done.detected else {})
    now_ns = monotonic_ns()
    stages_ms["publish"] = (now_ns - done.finished_ns) / 1e6
    height, width = done.frame.image.shape[:2]
    details = done.detected.details if done.detected else None
    return FrameResult(
        camera=done.camera,
        frame=done.frame.index,
        captured_ms=done.frame.captured_ms,
        captured_ns=done.frame.captured_ns,
        finished_ns=now_ns,
        width=width,
        height=height,
        boxes=boxes,
        stages_ms={stage: round(spent, 3) for stage, spent in stages_ms.items()},
        error=done.error,
        # Both are best first, so boxes above the threshold are the first of all detected.
        shapes=shapes_of(details, len(boxes)),
        ranking=ranking_of(details),
    )
