"""A camera that does what a test tells it to: the world behind a driver that hangs."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from agent.vision.cameras import CameraSetup, Frame

PICTURE = np.zeros((48, 64, 3), np.uint8)


class HangingCamera:
    """Gives three pictures, then hangs in its library until `woken` is set; `made` counts cameras."""

    woken = threading.Event()
    made = 0

    def __init__(self, setup: CameraSetup) -> None:
        self._setup = setup
        self._given = 0
        type(self).made += 1

    def open(self) -> None:
        pass

    def read(self) -> Frame | None:
        if self._given == 3:
            with self._setup.call:
                self.woken.wait(60)
        self._given += 1
        self._setup.stop.wait(0.02)
        return self._setup.frame(PICTURE, self._given, time.perf_counter_ns())

    def close(self) -> None:
        pass
