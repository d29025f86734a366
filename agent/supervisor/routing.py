"""Which worker's results reach the listeners.

Only the serving worker is heard. During a swap the candidate's first result makes it the serving one; the
old worker's results are dropped from that instant on, and the new one's until they are newer than the
last of the old, so that no frame is reported by both. Of a worker that is not heard only the ends of events,
leaves and pictures pass: they finish what it told while it was.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeGuard

from agent.models.store import InstalledRelease
from agent.schema import ipc
from agent.schema.events import PlaceAction
from agent.supervisor.health import HealthWindow
from agent.supervisor.worker_process import Pictured, Unasked, WorkerProcess

log = logging.getLogger(__name__)
Happening = ipc.ObjectEvent | ipc.PlaceNotice | Pictured


@dataclass(frozen=True)
class Listeners:
    """Where results go; called from a worker's reader thread, must not block.

    Attributes:
        restarted: Called, from the supervisor's loop, for every unplanned end of the serving worker.
        happening: Events, zone events and pictures, with the process id of the worker they come from.
        gone: Called once for every worker that has ended, with its process id, after all that it said.
    """

    frame: Callable[[ipc.FrameResult, str], None]
    heartbeat: Callable[[ipc.Heartbeat], None]
    restarted: Callable[[], None]
    happening: Callable[[Happening, int], None] = lambda _message, _worker: None
    gone: Callable[[int], None] = lambda _worker: None


@dataclass(frozen=True)
class Serving:
    """A worker together with the release it runs."""

    worker: WorkerProcess
    release: InstalledRelease


class Swap:
    """A swap under way: waits for the candidate's first result, and until it was passed on."""

    def __init__(self, candidate: Serving) -> None:
        self.candidate = candidate
        self.done = threading.Event()
        self.happened = False
        self.gap_ms = 0.0


class Router:
    """Passes on what the serving worker says; thread-safe."""

    def __init__(self, listeners: Listeners, health: HealthWindow) -> None:
        self._listeners = listeners
        self._health = health
        self._lock = threading.Lock()
        self._serving: Serving | None = None
        self._swap: Swap | None = None
        self._newest: dict[str, tuple[WorkerProcess, ipc.FrameResult]] = {}

    @property
    def serving(self) -> Serving | None:
        """The worker that is heard."""
        return self._serving

    def hear(self, serving: Serving | None) -> None:
        """Hear `serving` from now on, or nobody."""
        with self._lock:
            self._serving, self._swap = serving, None

    def hear_first_of(self, candidate: Serving) -> Swap:
        """Hear `candidate` as soon as it gives its first result."""
        with self._lock:
            self._swap = Swap(candidate)
            return self._swap

    def cancel(self, swap: Swap) -> bool:
        """Give a swap up; return False when it has happened already."""
        with self._lock:
            self._swap = None
            return not swap.happened

    def on_message(self, worker: WorkerProcess, message: Unasked) -> None:
        """Take what `worker` said."""
        swapped: Swap | None = None
        with self._lock:
            if isinstance(message, ipc.FrameResult):
                if self._was_reported(worker, message):
                    return
                swapped = self._maybe_swap(worker, message)
            serving = self._serving
            is_heard = serving is not None and serving.worker is worker
            if is_heard and isinstance(message, ipc.FrameResult):
                self._newest[message.camera] = (worker, message)
                self._health.frame(message)
        if serving is not None and is_heard:
            self._forward(message, serving)
        elif _is_farewell(message):
            self._listeners.happening(message, worker.pid)
        if swapped is not None:
            swapped.done.set()

    def _was_reported(self, worker: WorkerProcess, result: ipc.FrameResult) -> bool:
        """Return whether another worker has reported this frame, or a later one, of its camera."""
        reporter, newest = self._newest.get(result.camera, (worker, result))
        is_same = result.frame == newest.frame
        return reporter is not worker and (is_same or result.captured_ns <= newest.captured_ns)

    def _maybe_swap(self, worker: WorkerProcess, first: ipc.FrameResult) -> Swap | None:
        swap = self._swap
        if swap is None or swap.candidate.worker is not worker:
            return None
        last_ns = self._health.last_result_ns
        swap.gap_ms = max(0, first.finished_ns - last_ns) / 1e6 if last_ns else 0.0
        self._serving, self._swap = swap.candidate, None
        self._health.begin()
        swap.happened = True
        return swap

    def _forward(self, message: Unasked, serving: Serving) -> None:
        match message:
            case ipc.FrameResult():
                self._listeners.frame(message, serving.release.manifest.release_id)
            case ipc.ObjectEvent() | ipc.PlaceNotice() | Pictured():
                self._listeners.happening(message, serving.worker.pid)
            case ipc.Heartbeat():
                self._listeners.heartbeat(message)
            case ipc.Failed():
                log.error("worker: %s [%s]", message.message, message.code)


def _is_farewell(message: Unasked) -> TypeGuard[Happening]:
    match message:
        case ipc.ObjectEvent():
            return message.event.type == "end"
        case ipc.PlaceNotice():
            return message.event.type is PlaceAction.LEAVE
    return isinstance(message, Pictured)
