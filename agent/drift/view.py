"""What a camera usually looks at, cell by cell, learned on the device: says whether it moved or is covered in part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agent.drift.distance import correlation, median
from agent.schema.drift import FrameFigures
from agent.schema.values import Struct

# Detail less than this, grey levels, says nothing: the cell shows a plain surface.
_PLAIN = 1.5
_LOST, _GAINED = 0.5, 2.0
# Scores of a fixed scene wander by a tenth; these are too low by far.
_FADED, _LEAST_OBJECTS = 0.65, 20


class View(Struct):
    """Mean grey level and mean detail of each cell of the grid, and the median score; 0 of few objects."""

    levels: list[float]
    detail: list[float]
    score: float = 0.0


@dataclass(frozen=True)
class ViewChange:
    """How another view differs.

    Attributes:
        alike: Correlation of the cells' grey levels or of their detail, whichever is greater: light changes one,
            movement both.
        lost: Share of the cells with detail that lost more than half of it.
        gained: Share of all cells whose detail doubled.
        faded: Whether objects score much lower. A release's baseline is of many cameras and bears that; one camera does
            not show it without a cause.
    """

    alike: float = 1.0
    lost: float = 0.0
    gained: float = 0.0
    faded: bool = False


SAME = ViewChange()


def view_of(frames: Sequence[FrameFigures]) -> View:
    """Return the mean of the frames, at least one."""
    levels = zip(*(frame.levels for frame in frames), strict=True)
    detail = zip(*(frame.detail for frame in frames), strict=True)
    count = len(frames)
    scores = sorted(score for frame in frames for score in frame.scores)
    return View(
        score=median(scores) if len(scores) >= _LEAST_OBJECTS else 0.0,
        levels=[sum(cell) / count for cell in levels],
        detail=[sum(cell) / count for cell in detail],
    )


def compare(usual: View, found: View) -> ViewChange:
    """Return how `found` differs from `usual`."""
    pairs = list(zip(usual.detail, found.detail, strict=True))
    rich = [(before, now) for before, now in pairs if before >= _PLAIN]
    lost = sum(now < _LOST * before for before, now in rich)
    gained = sum(now > _GAINED * max(before, _PLAIN) for before, now in pairs)
    return ViewChange(
        alike=max(correlation(usual.levels, found.levels), correlation(usual.detail, found.detail)),
        lost=lost / len(rich) if rich else 0.0,
        gained=gained / len(pairs),
        faded=0 < found.score < _FADED * usual.score,
    )
