"""The motion gate: while nothing moves in front of a camera, its frames do not go through the model.

A frame is reduced to a small grey picture and compared with a slowly learned background.
- Light: what all pixels have in common (their median) is taken off; when most of the picture changes at once, the
  background is learned anew within a second.
- Shake: a pixel counts as changed only outside the range of its neighbours in the background, so an edge may
  move by one pixel of the small picture, eight of the camera's.
- Noise, rain, leaves: every pixel's usual change is learned and raises its threshold; single pixels do not count.
- While nothing moves, some five frames a second are compared, however many come.
- The gate stays open for a while after the last motion, looks every now and then all the same, and more
  often while the last look found an object, so that what stands still keeps its track.
It fails open: at the start, after a change of resolution and whenever it is paused, every frame passes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.schema.motion import MotionConfig

Grey = NDArray[np.float32]

_CELL_PX = 8
_MOST_CELLS = 128
_WARM_UP_S = 2.0
# Least time between two comparisons while the gate is closed: five a second of ten or of fifteen frames.
_CALM_S = 0.15
# Time constants, seconds: of the background, usually and after a change of light; of the learned noise where
# nothing moves and where something does, so that who walks by is not learned as noise.
_USUAL_S, _SUDDEN_S = 2.0, 0.5
_NOISE_QUIET_S, _NOISE_BUSY_S = 4.0, 60.0
_NOISE_FACTOR = 3.0
# A picture that is all noise must still show a person.
_MOST_NOISE = 30.0
# Share of the picture from which a change is one of light or of the camera, not of an object.
_EVERYWHERE = 0.6
_LEAST_CELLS = 3
# So many looks in a row must find nothing before the view counts as empty.
_EMPTY_LOOKS = 3
_NS = 1e9


class Background:
    """What one camera usually shows, and how much each part of it usually changes.

    Args:
        config: Threshold and masks.
        shape: Rows and columns of the small picture.
    """

    def __init__(self, config: MotionConfig, shape: tuple[int, int]) -> None:
        self.shape = shape
        self._threshold = config.threshold
        self._wanted = wanted_cells(config.masks, shape)
        self._all = max(1, int(cv2.countNonZero(self._wanted)))
        self._usual: Any = None
        self._noise: Grey = np.zeros(shape, np.float32)
        self._kernel = np.ones((3, 3), np.uint8)
        self._pair = np.ones((2, 2), np.uint8)

    def moving(self, small: Grey, passed_s: float) -> float:
        """Return the share of the picture that moves, in [0, 1], and learn from it.

        Args:
            small: Grey picture of `shape`.
            passed_s: Seconds since the last one.
        """
        usual = self._usual
        if usual is None:
            self._usual = small
            return 0.0
        # A quarter of the places tells the light as well as all of them.
        level = small - np.float32(np.median((small - usual)[::2, ::2]))
        bound = self._threshold + np.minimum(_NOISE_FACTOR * self._noise, _MOST_NOISE)
        brighter = level - cv2.dilate(usual, self._kernel) > bound
        darker = cv2.erode(usual, self._kernel) - level > bound
        changed = (brighter | darker).astype(np.uint8) & self._wanted
        count = cv2.countNonZero(cv2.morphologyEx(changed, cv2.MORPH_OPEN, self._pair))
        share = count / self._all
        if share > _EVERYWHERE:
            self._usual = usual + _weight(passed_s, _SUDDEN_S) * (small - usual)
        else:
            self._learn(level - usual, changed.astype(bool), passed_s)
        return share if count >= _LEAST_CELLS else 0.0

    def _learn(self, off: Grey, busy: NDArray[np.bool_], passed_s: float) -> None:
        """Follow the picture: `off` is how far it is from the usual one."""
        self._usual = self._usual + _weight(passed_s, _USUAL_S) * off
        trust = np.where(busy, _weight(passed_s, _NOISE_BUSY_S), _weight(passed_s, _NOISE_QUIET_S))
        self._noise += trust * (np.abs(off) - self._noise)


class MotionGate:
    """Decides frame by frame; `admits` is called by the camera's thread, `saw` by the model's.

    Args:
        config: How it decides.
    """

    def __init__(self, config: MotionConfig) -> None:
        self._config = config
        self._background: Background | None = None
        self._last_ns = 0
        self._open_until_ns = 0
        self._looked_ns = 0
        self._empty_looks = _EMPTY_LOOKS
        self._occupied = False
        self.paused = True
        self.share = 0.0

    @property
    def state(self) -> str:
        """`open`, `closed`, or `paused` while every frame is wanted."""
        if self.paused:
            return "paused"
        return "open" if self._last_ns <= self._open_until_ns else "closed"

    def admits(self, image: NDArray[np.uint8], at_ns: int) -> bool:
        """Return whether a BGR frame captured at `at_ns` (monotonic) shall go through the model."""
        longest_s = self._config.still_s if self._occupied else self._config.idle_s
        due = at_ns - self._looked_ns >= longest_s * _NS
        closed = not (self.paused or due or at_ns <= self._open_until_ns)
        if closed and at_ns - self._last_ns < _CALM_S * _NS:
            return False
        self.share = self._moving(image, at_ns)
        if self.share >= self._config.min_area:
            self._hold(self._config.hold_s)
        if closed and at_ns > self._open_until_ns:
            return False
        self._looked_ns = at_ns
        return True

    def saw(self, *, objects: bool) -> None:
        """Take note of whether the last look found an object; one that is new is looked at for a while."""
        if objects and not self._occupied:
            self._hold(self._config.hold_s)
        # What the model finds in one look and not in the next is no reason to look for two seconds each time.
        self._empty_looks = 0 if objects else self._empty_looks + 1
        self._occupied = self._empty_looks < _EMPTY_LOOKS

    def _moving(self, image: NDArray[np.uint8], at_ns: int) -> float:
        shape = small_shape(*image.shape[:2])
        passed_s, self._last_ns = (at_ns - self._last_ns) / _NS, at_ns
        if self._background is None or self._background.shape != shape:
            self._background = Background(self._config, shape)
            self._hold(_WARM_UP_S)
        return self._background.moving(reduced(image, shape), min(max(passed_s, 0.0), 1.0))

    def _hold(self, seconds: float) -> None:
        self._open_until_ns = max(self._open_until_ns, self._last_ns + int(seconds * _NS))


def small_shape(height: int, width: int) -> tuple[int, int]:
    """Return rows and columns of the small picture for a frame."""
    columns = max(1, min(_MOST_CELLS, width // _CELL_PX))
    return max(1, round(height * columns / width)), columns


def reduced(image: NDArray[np.uint8], shape: tuple[int, int]) -> Grey:
    """Return a BGR frame as a grey picture of `shape`, every pixel the mean of four places in what it covers."""
    rows, columns = shape
    # Taking the mean of all that is covered costs five times as much and notices no more.
    double = cv2.resize(image, (2 * columns, 2 * rows), interpolation=cv2.INTER_LINEAR)
    small = cv2.resize(double, (columns, rows), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_BGR2GRAY).astype(np.float32)


def wanted_cells(
    masks: Sequence[Sequence[tuple[float, float]]], shape: tuple[int, int]
) -> NDArray[np.uint8]:
    """Return 1 for every pixel of the small picture whose motion counts, 0 inside the masks."""
    wanted = np.ones(shape, np.uint8)
    rows, columns = shape
    for mask in masks:
        corners = np.array([(x * columns, y * rows) for x, y in mask])
        cv2.fillPoly(wanted, [np.rint(corners).astype(np.int32)], 0)
    return wanted


def _weight(passed_s: float, constant_s: float) -> np.float32:
    """Return how much of a new value a mean over `constant_s` takes after `passed_s`."""
    weight: np.float32 = np.float32(-math.expm1(-passed_s / constant_s))
    return weight
