"""A synthetic picture for devices without a camera: colour bars and a box that wanders across them.

Source: `pattern:` or `pattern:WIDTHxHEIGHT`.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import numpy as np

from agent.errors import CameraError
from agent.vision.cameras import CameraSetup, Frame
from agent.vision.cameras.pace import Pace

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SIZE = re.compile(r"pattern:(?:(\d{2,4})x(\d{2,4}))?")
_DEFAULT_SIZE = ("640", "360")
_BARS_BGR = (
    (192, 192, 192),
    (0, 192, 192),
    (192, 192, 0),
    (0, 192, 0),
    (192, 0, 192),
    (0, 0, 192),
    (192, 0, 0),
)
_PERIOD_FRAMES = 120


class PatternCamera:
    """See the module; `Frame.index` counts ticks since the epoch."""

    def __init__(self, setup: CameraSetup) -> None:
        config = setup.config
        match = _SIZE.fullmatch(config.source)
        if match is None:
            message = f"camera {config.name}: expected pattern:WIDTHxHEIGHT, found {config.source}"
            raise CameraError(message, code="camera.unknown")
        width, height = (
            int(side) for side in (match.groups(default="") if match[1] else _DEFAULT_SIZE)
        )
        self._background = _bars(width, height)
        self._pace = Pace(config.fps or setup.default_fps, setup.epoch_ns)
        self._setup = setup
        self._last_tick = -1

    def open(self) -> None:
        """Do nothing: the pattern is always there."""

    def read(self) -> Frame | None:
        """Wait for the next tick and paint it; see `agent.vision.cameras.Camera`."""
        tick = self._setup.wait_for_tick(self._pace, self._last_tick)
        if tick is None:
            return None
        self._last_tick = tick
        started = time.perf_counter_ns()
        return self._setup.frame(self._paint(tick), tick, started)

    def close(self) -> None:
        """Do nothing."""

    def _paint(self, tick: int) -> NDArray[np.uint8]:
        image: NDArray[np.uint8] = self._background.copy()
        height, width = image.shape[:2]
        side = height // 4
        left = (width - side) * (tick % _PERIOD_FRAMES) // _PERIOD_FRAMES
        image[(height - side) // 2 : (height + side) // 2, left : left + side] = 255
        return image


def _bars(width: int, height: int) -> NDArray[np.uint8]:
    columns = np.arange(width) * len(_BARS_BGR) // width
    row = np.array(_BARS_BGR, np.uint8)[columns]
    bars: NDArray[np.uint8] = np.repeat(row[None], height, axis=0)
    return bars
