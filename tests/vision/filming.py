"""A camera's capture loop in a thread of its own, for tests."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from typing_extensions import Self

from agent.schema.config import CameraConfig
from agent.vision.cameras import CameraSetup, Frame
from agent.vision.capture import CaptureLoop
from agent.vision.mailbox import Mailbox
from tests.parts.streams import wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from agent.schema.camera_report import CameraReport
    from agent.vision.motion import MotionGate


def setup(source: Path | str, age_s: float = 0.0, **config: Any) -> CameraSetup:
    """A camera whose source was at frame 0 `age_s` ago."""
    epoch_ns = time.monotonic_ns() - int(age_s * 1e9)
    entry = CameraConfig(name="door", source=str(source), **config)
    return CameraSetup(entry, epoch_ns, 10.0, threading.Event())


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
