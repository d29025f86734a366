"""The publishing loop: what the cameras' desks say, and the heartbeat, in one thread of the worker."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from agent.host.clock import monotonic_ns
from agent.host.memfd import memfd_of
from agent.schema.ipc import Heartbeat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from agent.host.seqpacket import Wire
    from agent.schema.camera_report import CameraReport
    from agent.vision.desk import CameraDesk, Parcel, Processed

_BACKLOG = 16
_HEARTBEAT_S = 1.0
_WAIT_S = 0.2
_FINISH_S = 2.0
_LOST_AFTER_S = 2.0


@dataclass(frozen=True)
class _Job:
    """Work for the publishing thread: `make` gives what to send, `sent` is set afterwards."""

    make: Callable[[], Iterable[Parcel]]
    sent: threading.Event


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
        self._open: dict[str, CameraDesk] = {}

    def hand(self, desk: CameraDesk, done: Processed, *, patient: bool = False) -> None:
        """Hand over a frame; when the control process reads too slowly the oldest one is dropped.

        Args:
            desk: Of its camera.
            done: The frame.
            patient: Whether to wait for room first, as long as for a camera's end.
        """
        job = _Job(partial(self._take, desk, done), threading.Event())
        if patient:
            with contextlib.suppress(queue.Full):
                self._handed.put(job, timeout=_FINISH_S)
                return
        while self._handed.full():
            with contextlib.suppress(queue.Empty):
                self._handed.get_nowait()
        self._handed.put_nowait(job)

    def finish(self, desk: CameraDesk) -> None:
        """Send the ends of a camera's open events after all that was handed over before."""
        job = _Job(partial(self._finish, desk), threading.Event())
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

    def _take(self, desk: CameraDesk, done: Processed) -> Iterable[Parcel]:
        self._open[desk.name] = desk
        return desk.take(done)

    def _finish(self, desk: CameraDesk) -> Iterable[Parcel]:
        self._open.pop(desk.name, None)
        return desk.close()

    def _publish(self, job: _Job) -> None:
        for parcel in job.make():
            self._send(parcel)
        job.sent.set()

    def _send(self, parcel: Parcel) -> None:
        if not parcel.data:
            self._wire.send(parcel.message)
            return
        picture = memfd_of(parcel.data, "picture")
        try:
            self._wire.send(parcel.message, picture)
        finally:
            os.close(picture)

    def _beat(self) -> None:
        now_ns = monotonic_ns()
        if now_ns - self._sent_ns >= _HEARTBEAT_S * 1e9 and self._alive():
            self._sent_ns = now_ns
            reports = self._reports()
            self._wire.send(Heartbeat(at_ns=now_ns, cameras=reports))
            self._part_with_lost({one.name for one in reports if one.status != "streaming"})

    def _part_with_lost(self, silent: set[str]) -> None:
        """End what is open on cameras that give no frames any more, once; one that only rests is streaming."""
        for name in silent & self._open.keys():
            if self._open[name].hungry_s > _LOST_AFTER_S:
                for parcel in self._open.pop(name).close():
                    self._send(parcel)
