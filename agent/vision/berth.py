"""A camera's place in the pipeline, and the watchdog over the library that reads it.

FFmpeg, V4L2 and vendors' stacks bound their calls by themselves; a driver that hangs does not. A thread in such a
call cannot be ended: it is left to itself, another takes over, and what the first says when it wakes up is
not heard. At most `MOST_HUNG` are left behind, so that a driver that hangs for good costs a bounded sum.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Generic, TypeVar

from agent.errors import CameraError
from agent.vision.cameras import redact

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.schema.camera_report import CameraReport
    from agent.vision.capture import CaptureLoop

HUNG_AFTER_S = 20.0
MOST_HUNG = 2
_ROUND_S = 0.5

T = TypeVar("T")


class Berth(Generic[T]):
    """One camera's capture loop, and its successors where one hangs.

    Args:
        source: The camera's source, for messages.
        make_loop: Makes a loop that is not started; every one has the same record.
        spawn: Starts a named thread.
        hung_after_s: How long a call into a library may last.
    """

    def __init__(
        self,
        source: str,
        make_loop: Callable[[], CaptureLoop[T]],
        spawn: Callable[[str, Callable[[], None]], threading.Thread],
        hung_after_s: float = HUNG_AFTER_S,
    ) -> None:
        self._source = source
        self._make_loop = make_loop
        self._spawn = spawn
        self._hung_after_s = hung_after_s
        self._hung: list[threading.Thread] = []
        self._begin()

    @property
    def name(self) -> str:
        """The camera's name."""
        return self._loop.name

    @property
    def threads(self) -> list[threading.Thread]:
        """The thread that captures, and those that hang."""
        return [self._thread, *self._hung]

    def report(self, processed: int) -> CameraReport:
        """Return the camera's health; `processed` frames went through the model."""
        return self._loop.report(processed)

    def stop(self) -> None:
        """Let the camera go at the next opportunity."""
        self._loop.stop()

    def check(self) -> None:
        """Let another loop take over where the present one hangs; call it from one thread, every second or so."""
        self._hung = [thread for thread in self._hung if thread.is_alive()]
        stuck_s = self._loop.stuck_s()
        if stuck_s < self._hung_after_s or len(self._hung) >= MOST_HUNG:
            return
        problem = (
            f"camera {self.name}: {redact(self._source)}: its library hangs for {stuck_s:.0f} s"
        )
        hint = "unplug or restart the camera; look at the kernel's log"
        self._loop.retire(CameraError(problem, code="camera.hung", hint=hint))
        self._hung.append(self._thread)
        self._begin()

    def _begin(self) -> None:
        self._loop = self._make_loop()
        self._thread = self._spawn(f"camera-{self._loop.name}", self._loop.run)


def watch(berths: list[Berth[T]], stop: threading.Event) -> None:
    """Check on cameras until `stop` is set."""
    while not stop.wait(_ROUND_S):
        for berth in berths:
            berth.check()
