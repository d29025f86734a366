"""Capture threads and the mailbox between them and inference: the newest frame wins, cameras take turns.

A recording that is not paced waits until its frame was taken, so that none is lost.
"""

from __future__ import annotations

import logging
import random
import threading
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

from agent.errors import CameraError
from agent.host.clock import monotonic_ns
from agent.schema.messages import CameraReport
from agent.vision.cameras import Camera, CameraSetup, Frame, open_camera

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

log = logging.getLogger(__name__)

_STALLED_AFTER_S = 5.0
_FIRST_DELAY_S = 0.5
_LONGEST_DELAY_S = 2.0
_TURN_S = 0.2


T = TypeVar("T")


class Mailbox(Generic[T]):
    """One slot for each camera; a new frame replaces an unread one."""

    def __init__(self, cameras: Sequence[str]) -> None:
        self._turns = deque(cameras)
        self._slots: dict[str, T] = {}
        self._every_ns = 0
        self._due_ns = dict.fromkeys(cameras, 0)
        lock = threading.Lock()
        self._arrived = threading.Condition(lock)
        self._taken = threading.Condition(lock)

    def limit(self, max_fps: float) -> None:
        """Admit at most `max_fps` frames a second of each camera; 0 admits all."""
        self._every_ns = int(1e9 / max_fps) if max_fps > 0 else 0

    def admits(self, camera: str, captured_ns: int) -> bool:
        """Say whether a camera's frame is within the rate, and count on it to be put.

        The rate is kept on average: a frame may be a little early, the next is due no sooner for it.
        """
        every_ns, due_ns = self._every_ns, self._due_ns[camera]
        if captured_ns < due_ns - every_ns // 4:
            return False
        self._due_ns[camera] = max(due_ns + every_ns, captured_ns)
        return True

    def put(self, camera: str, frame: T) -> bool:
        """Leave a frame; return True when it replaced one that nobody took."""
        with self._arrived:
            replaced = camera in self._slots
            self._slots[camera] = frame
            self._arrived.notify()
        return replaced

    def take(self, timeout_s: float) -> tuple[str, T] | None:
        """Return a frame of the camera that waited longest for its turn; None when none arrived in time."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: bool(self._slots), timeout_s):
                return None
            camera = next(name for name in self._turns if name in self._slots)
            self._turns.remove(camera)
            self._turns.append(camera)
            self._taken.notify_all()
            return camera, self._slots.pop(camera)

    def wait_taken(self, camera: str, timeout_s: float) -> bool:
        """Wait until a camera's last frame was taken; return False when it was not in time."""
        with self._taken:
            return self._taken.wait_for(lambda: camera not in self._slots, timeout_s)


class CaptureLoop(Generic[T]):
    """Keeps one camera open and fills its slot; reconnects with back-off and jitter.

    Args:
        setup: The camera's set-up.
        mailbox: Where its slot is.
        prepare: Makes of a frame what the slot holds: work that need not wait for the model's thread.
    """

    def __init__(
        self, setup: CameraSetup, mailbox: Mailbox[T], prepare: Callable[[Frame], T]
    ) -> None:
        self.name = setup.config.name
        self._setup = setup
        self._mailbox = mailbox
        self._prepare = prepare
        self._camera: Camera | None = None
        self._status = "opening"
        self._problem = ""
        self._opened = 0
        self._captured = 0
        self._dropped = 0
        self._newest_ns = monotonic_ns()
        self._recent_ns: deque[int] = deque(maxlen=30)

    def run(self) -> None:
        """Capture until the source ends or the set-up's `stop` is set."""
        delay_s = _FIRST_DELAY_S
        while not self._setup.stop.is_set():
            before = self._captured
            try:
                self._capture()
            except CameraError as error:
                self._fail(error)
            else:
                return
            delay_s = _FIRST_DELAY_S if self._captured > before else delay_s
            # Jitter, so that all cameras behind one switch do not return in the same instant.
            self._setup.stop.wait(delay_s * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
            delay_s = min(2 * delay_s, _LONGEST_DELAY_S)

    def report(self, processed: int) -> CameraReport:
        """Return the camera's health; `processed` frames went through the model."""
        now_ns = monotonic_ns()
        silent = now_ns - self._newest_ns > _STALLED_AFTER_S * 1e9
        status = "stalled" if self._status == "streaming" and silent else self._status
        return CameraReport(
            name=self.name,
            status=status,
            fps=0.0 if silent else self._rate(),
            captured=self._captured,
            processed=processed,
            dropped=self._dropped,
            reconnects=max(0, self._opened - 1),
            problem=self._problem,
        )

    def _capture(self) -> None:
        camera = self._camera = self._camera or open_camera(self._setup)
        try:
            camera.open()
            self._opened += 1
            while self._is_due() and (frame := camera.read()) is not None:
                self._deliver(frame)
        finally:
            camera.close()
        self._status = "ended"

    def _is_due(self) -> bool:
        """Return whether to read on, waiting for a free slot where no frame may be lost; False at the end."""
        while not self._setup.stop.is_set():
            if self._setup.config.paced or self._mailbox.wait_taken(self.name, _TURN_S):
                return True
        return False

    def _deliver(self, frame: Frame) -> None:
        self._captured += 1
        if self._mailbox.admits(self.name, frame.captured_ns):
            self._dropped += self._mailbox.put(self.name, self._prepare(frame))
        else:
            self._dropped += 1
        self._newest_ns = frame.captured_ns
        self._recent_ns.append(frame.captured_ns)
        self._status, self._problem = "streaming", ""

    def _fail(self, error: CameraError) -> None:
        level = logging.DEBUG if self._status == "failed" else logging.WARNING
        log.log(level, "%s", error)
        self._recent_ns.clear()
        self._status, self._problem = "failed", str(error)

    def _rate(self) -> float:
        times = list(self._recent_ns)
        spans = len(times) - 1
        return round(spans * 1e9 / (times[-1] - times[0]), 2) if spans > 0 else 0.0
