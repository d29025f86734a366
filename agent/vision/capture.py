"""One camera kept open: its thread fills the camera's slot, reconnects with back-off and jitter, and heeds the gate.

A recording that is not paced waits until its frame was taken, so that none is lost.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Generic, TypeVar

from agent.errors import CameraError
from agent.vision.camera_record import CameraRecord
from agent.vision.cameras import Camera, CameraSetup, Decoding, Frame, open_camera

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.schema.camera_report import CameraReport
    from agent.vision.mailbox import Mailbox
    from agent.vision.motion import MotionGate

_FIRST_DELAY_S = 0.5
_LONGEST_DELAY_S = 2.0
_TURN_S = 0.2
# Cameras lock an account after a few wrong passwords: do not run into that.
_PAUSES_S = {"camera.unauthorized": 30.0}

T = TypeVar("T")


class CaptureLoop(Generic[T]):
    """Keeps one camera open and fills its slot.

    Args:
        setup: The camera's set-up; its `stop` ends the loop.
        mailbox: Where its slot is.
        prepare: Makes of a frame what the slot holds: work that need not wait for the model's thread.
        gate: Says which frames are worth a look; None passes all.
        record: Where its health is kept; None for one of its own.
    """

    def __init__(
        self,
        setup: CameraSetup,
        mailbox: Mailbox[T],
        prepare: Callable[[Frame], T],
        gate: MotionGate | None = None,
        record: CameraRecord | None = None,
    ) -> None:
        self.name = setup.config.name
        self.record = record or CameraRecord(self.name)
        self._setup = setup
        self._mailbox = mailbox
        self._prepare = prepare
        self._gate = gate if setup.config.paced else None
        self._camera: Camera | None = None

    def run(self) -> None:
        """Capture until the source ends or the set-up's `stop` is set."""
        delay_s = _FIRST_DELAY_S
        while not self._setup.stop.is_set():
            before = self.record.captured
            try:
                self._capture()
            except CameraError as error:
                self._fail(error)
                pause_s = _PAUSES_S.get(error.code, 0.0)
            else:
                return
            delay_s = _FIRST_DELAY_S if self.record.captured > before else delay_s
            # Jitter, so that all cameras behind one switch do not return in the same instant.
            self._setup.stop.wait(max(delay_s, pause_s) * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
            delay_s = min(2 * delay_s, _LONGEST_DELAY_S)

    def report(self, processed: int) -> CameraReport:
        """Return the camera's health; `processed` frames went through the model."""
        return self.record.report(processed, self._gate)

    def stuck_s(self) -> float:
        """Return for how long the camera's library has not come back from a call; 0 outside of one."""
        return self._setup.call.age_s()

    def retire(self, error: CameraError) -> None:
        """End the loop as soon as its library comes back; what it says from now on is not heard."""
        self._setup.stop.set()
        self.record.failed(error)

    def stop(self) -> None:
        """End the loop at the next opportunity."""
        self._setup.stop.set()

    def _capture(self) -> None:
        camera = self._camera = self._camera or open_camera(self._setup)
        try:
            camera.open()
            self.record.connected(camera.decoder if isinstance(camera, Decoding) else "")
            while self._is_due() and (frame := camera.read()) is not None:
                self._deliver(frame)
        finally:
            camera.close()
        if not self._setup.stop.is_set():
            self.record.ended()

    def _fail(self, error: CameraError) -> None:
        if not self._setup.stop.is_set():
            self.record.failed(error)

    def _is_due(self) -> bool:
        """Return whether to read on, waiting for a free slot where no frame may be lost; False at the end."""
        while not self._setup.stop.is_set():
            if self._setup.config.paced or self._mailbox.wait_taken(self.name, _TURN_S):
                return True
        return False

    def _deliver(self, frame: Frame) -> None:
        if self._setup.stop.is_set():
            return
        record = self.record
        record.took(frame)
        record.clock_jumps = self._setup.clock.jumps
        if self._gate is not None and not self._gate.admits(frame.image, frame.captured_ns):
            record.gated += 1
        elif self._mailbox.admits(self.name, frame.captured_ns):
            record.dropped += self._mailbox.put(self.name, self._prepare(frame))
        else:
            record.dropped += 1
