"""Details of a frame's objects as plain values for messages: bounded, rounded, in the frame's pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.schema.ipc import MAX_SHAPE_POINTS
from agent.schema.values import Outline, Ranked, RotatedBox, Shape, Skeleton
from agent.vision.details import MAX_OUTLINE_POINTS, Details, Keypoints, Masks, Ranking, Rotated

if TYPE_CHECKING:
    from collections.abc import Sequence

_FEWEST_POINTS = 4


def shapes_of(details: Details | None, count: int) -> list[Shape]:
    """Return the shapes of the first `count` objects, or of fewer where `MAX_SHAPE_POINTS` are used up."""
    match details:
        case Keypoints():
            places = range(min(count, MAX_SHAPE_POINTS // max(1, details.xy.shape[1])))
            return [_skeleton(details, index) for index in places]
        case Masks():
            each = max(_FEWEST_POINTS, min(MAX_OUTLINE_POINTS, MAX_SHAPE_POINTS // max(1, count)))
            return [_outline(details, index, each) for index in range(count)]
        case Rotated():
            return [_rotated(values) for values in details.xywhr[:count].tolist()]
        case _:
            return []


def ranking_of(details: Details | None) -> list[Ranked]:
    """Return a classifier's ranking, best first; empty for all others."""
    if not isinstance(details, Ranking):
        return []
    pairs = zip(details.labels.tolist(), details.scores.tolist(), strict=True)
    return [Ranked(label=label, score=round(score, 4)) for label, score in pairs]


def _skeleton(points: Keypoints, index: int) -> Skeleton:
    rows = zip(points.xy[index].tolist(), points.scores[index].tolist(), strict=True)
    return Skeleton(points=[(round(x, 1), round(y, 1), round(score, 3)) for (x, y), score in rows])


def _outline(masks: Masks, index: int, max_points: int) -> Outline:
    corners = masks.outline(index, max_points).tolist()
    return Outline(points=[(round(x, 1), round(y, 1)) for x, y in corners])


def _rotated(xywhr: Sequence[float]) -> RotatedBox:
    x, y, width, height = (round(value, 1) for value in xywhr[:4])
    return RotatedBox(x=x, y=y, width=width, height=height, angle_rad=round(xywhr[4], 4))
