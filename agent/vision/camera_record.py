"""What is known of one camera's health: status, counters and the last problem, over all its connections."""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING

from agent.host.clock import monotonic_ns
from agent.schema.camera_report import CameraReport

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.errors import CameraError
    from agent.vision.cameras import Frame
    from agent.vision.motion import MotionGate

log = logging.getLogger(__name__)

_STALLED_AFTER_S = 5.0
_STALLED = "camera.stalled"


def _warn(error: CameraError) -> None:
    log.warning("%s [%s]", error, error.code)


class CameraRecord:
    """Written by the camera's thread, read by any.

    Args:
        name: The camera's name.
        tell: Takes the first fault in a row; by default it becomes a warning in the log.
    """

    def __init__(self, name: str, tell: Callable[[CameraError], None] = _warn) -> None:
        self.name = name
        self._tell = tell
        self.status = "opening"
        self.captured = self.dropped = self.gated = self.failures = self.clock_jumps = 0
        self._opened = 0
        self._problem = self._code = ""
        self._decoder = ""
        self._size = (0, 0)
        self._newest_ns = monotonic_ns()
        self._recent_ns: deque[int] = deque(maxlen=30)

    def connected(self, decoder: str) -> None:
        """Note that the camera was opened; `decoder` is what decodes its pictures, where that is known."""
        self._opened += 1
        self._decoder = decoder

    def took(self, frame: Frame) -> None:
        """Note a frame."""
        height, width = frame.image.shape[:2]
        self.captured += 1
        self._size = (width, height)
        self._newest_ns = frame.captured_ns
        self._recent_ns.append(frame.captured_ns)
        self.status, self._problem, self._code = "streaming", "", ""

    def ended(self) -> None:
        """Note that the source is over."""
        self.status = "ended"

    def failed(self, error: CameraError) -> None:
        """Note a fault; the first in a row is told, the others are not."""
        if self.status == "failed":
            log.debug("%s [%s]", error, error.code)
        else:
            self._tell(error)
        self.failures += 1
        self._recent_ns.clear()
        self.status, self._problem, self._code = "failed", str(error), error.code

    def report(self, processed: int, gate: MotionGate | None) -> CameraReport:
        """Return the camera's health; `processed` frames went through the model."""
        silent = monotonic_ns() - self._newest_ns > _STALLED_AFTER_S * 1e9
        stalled = self.status == "streaming" and silent
        return CameraReport(
            name=self.name,
            status="stalled" if stalled else self.status,
            fps=0.0 if silent else self._rate(),
            captured=self.captured,
            processed=processed,
            dropped=self.dropped,
            reconnects=max(0, self._opened - 1),
            problem=self._problem,
            code=_STALLED if stalled else self._code,
            failures=self.failures,
            width=self._size[0],
            height=self._size[1],
            decoder=self._decoder,
            gate=gate.state if gate else "",
            gated=self.gated,
            clock_jumps=self.clock_jumps,
        )

    def _rate(self) -> float:
        times = list(self._recent_ns)
        spans = len(times) - 1
        return round(spans * 1e9 / (times[-1] - times[0]), 2) if spans > 0 else 0.0
