"""A camera's capture loop in a thread of its own, for tests."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from typing_extensions import Self

from agent.host.clock import CaptureClock
from agent.schema.config import CameraConfig
from agent.vision.cameras import CameraSetup, Frame
from agent.vision.capture import CaptureLoop
from agent.vision.mailbox import Mailbox
from tests.parts.streams import wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from agent.schema.camera_report import CameraReport
    from agent.vision.motion import MotionGate

FRAMES = 30
FPS = 20


def write_film(path: Path) -> None:
    """Frames that show their own number: frame n is grey of value 8 n."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, (64, 48))
    for number in range(FRAMES):
        writer.write(np.full((48, 64, 3), 8 * number, np.uint8))
    writer.release()


class Hand:
    """A monotonic clock that is moved by hand: seconds since the sources were at their frame 0."""

    def __init__(self, at_s: float = 0.0) -> None:
        self.at_s = at_s

    def __call__(self) -> int:
        # Float seconds may fall a nanosecond short of the instant that is meant.
        return round(self.at_s * 1e9) + 1


def setup(
    source: Path | str, age_s: float = 0.0, hand: Hand | None = None, **config: Any
) -> CameraSetup:
    """A camera whose source was at frame 0 `age_s` ago, or at the instant 0 of `hand`."""
    entry = CameraConfig(name="door", source=str(source), **config)
    if hand is not None:
        clock = CaptureClock(monotonic=hand)
        return CameraSetup(entry, 0, 10.0, threading.Event(), clock=clock)
    return CameraSetup(entry, time.monotonic_ns() - int(age_s * 1e9), 10.0, threading.Event())


def shown(frame: Frame | None) -> int:
    assert frame is not None
    return round(float(frame.image.mean()) / 8)


class Filming:
    """A context in which a camera is kept open; what it delivers lies in `mailbox`."""

    def __init__(self, made: CameraSetup, gate: MotionGate | None = None) -> None:
        self.setup = made
        self.mailbox: Mailbox[Frame] = Mailbox([made.config.name])
        self.loop: CaptureLoop[Frame] = CaptureLoop(
            made, self.mailbox, lambda frame: frame, gate=gate
        )
        self.thread = threading.Thread(target=self.loop.run, daemon=True)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.setup.stop.set()
        self.thread.join(60)
        assert not self.thread.is_alive()

    @property
    def report(self) -> CameraReport:
        return self.loop.report(0)

    def wait(self, status: str = "streaming", code: str = "") -> CameraReport:
        """Wait until the camera is in a state, for a code where one is given."""
        wait_for(lambda: self.report.status == status and code in {"", self.report.code})
        return self.report

    def wait_failures(self, code: str) -> CameraReport:
        wait_for(lambda: self.report.code == code)
        return self.report
