"""Plane geometry of objects, polygons and lines, for many points at once; coordinates are normalised."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.schema.zones import Anchor

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DEAD_BAND = 0.004


def inside(points: NDArray[np.float64], corners: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return for each point, shape (N, 2), whether it is in the polygon, shape (P, 2): even-odd rule, shape (N,)."""
    x, y = points[:, :1], points[:, 1:]
    ahead = np.roll(corners, -1, axis=0)
    spans = (corners[:, 1] > y) != (ahead[:, 1] > y)
    rise = ahead[:, 1] - corners[:, 1]
    run = np.divide(ahead[:, 0] - corners[:, 0], rise, out=np.zeros_like(rise), where=rise != 0)
    hits = spans & (x < corners[:, 0] + (y - corners[:, 1]) * run)
    odd: NDArray[np.bool_] = np.count_nonzero(hits, axis=1) % 2 == 1
    return odd


def anchors(boxes: NDArray[np.float64], anchor: Anchor) -> NDArray[np.float64]:
    """Return where objects stand, shape (N, 2)."""
    x = (boxes[:, 0] + boxes[:, 2]) / 2
    y = boxes[:, 3] if anchor is Anchor.BOTTOM else (boxes[:, 1] + boxes[:, 3]) / 2
    return np.stack([x, y], axis=1)


def distances(
    points: NDArray[np.float64], start: NDArray[np.float64], end: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return signed distances from the line through two points, shape (N,): positive on its right.

    With y downwards, right is as a person sees it who looks from `start` towards `end`.
    """
    along = end - start
    crossed = along[0] * (points[:, 1] - start[1]) - along[1] * (points[:, 0] - start[0])
    apart: NDArray[np.float64] = crossed / np.hypot(*along)
    return apart


def side_of(distance: float) -> int:
    """Return 1 right of a line, -1 left of it, 0 so close to it that noise decides."""
    if abs(distance) < _DEAD_BAND:
        return 0
    return 1 if distance > 0 else -1


def runs_through(
    here: NDArray[np.float64],
    there: NDArray[np.float64],
    start: NDArray[np.float64],
    end: NDArray[np.float64],
) -> bool:
    """Whether the path between points on two sides of a line meets the line between its ends."""
    ends = distances(np.stack([start, end]), here, there)
    return bool(ends[0] * ends[1] <= 0)
