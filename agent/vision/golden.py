"""Does a model still see on this device what its makers saw? Pure matching of expected and found boxes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

GoldenBox = tuple[int, float, float, float, float, float]


@dataclass(frozen=True)
class MatchRule:
    """When a found box is the expected one: same label, least overlap, greatest difference of scores."""

    iou: float
    score_tolerance: float


@dataclass(frozen=True)
class Matched:
    """Counts over frames: boxes expected, boxes found, pairs that match."""

    expected: int = 0
    found: int = 0
    pairs: int = 0

    def __add__(self, other: Matched) -> Matched:
        return Matched(
            self.expected + other.expected, self.found + other.found, self.pairs + other.pairs
        )

    @property
    def recall(self) -> float:
        """Return the share of expected boxes that were found; 1 where none is expected."""
        return self.pairs / self.expected if self.expected else 1.0

    @property
    def precision(self) -> float:
        """Return the share of found boxes that are expected; 1 where none was found."""
        return self.pairs / self.found if self.found else 1.0


def match(expected: Sequence[GoldenBox], found: Sequence[GoldenBox], rule: MatchRule) -> Matched:
    """Count the pairs of one frame; see `pair`."""
    return Matched(len(expected), len(found), len(pair(expected, found, rule)))


def pair(
    expected: Sequence[GoldenBox], found: Sequence[GoldenBox], rule: MatchRule
) -> list[tuple[int, int]]:
    """Pair boxes of one frame, each at most once, those with the greatest overlap first; return their places.

    Args:
        expected: `(label, score, x_min, y_min, x_max, y_max)` as the makers found them.
        found: The same, as found here.
        rule: What makes a pair.
    """
    pairs = sorted(_candidates(expected, found, rule), reverse=True)
    partner: dict[int, int] = {}
    for _, left, right in pairs:
        if left not in partner and right not in partner.values():
            partner[left] = right
    return sorted(partner.items())


def overlap(left: GoldenBox, right: GoldenBox) -> float:
    """Return the intersection over union of two boxes, in [0, 1]."""
    width = min(left[4], right[4]) - max(left[2], right[2])
    height = min(left[5], right[5]) - max(left[3], right[3])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / (_area(left) + _area(right) - shared)


def _candidates(
    expected: Sequence[GoldenBox], found: Sequence[GoldenBox], rule: MatchRule
) -> Iterable[tuple[float, int, int]]:
    for left, wanted in enumerate(expected):
        for right, box in enumerate(found):
            same = wanted[0] == box[0] and abs(wanted[1] - box[1]) <= rule.score_tolerance
            iou = overlap(wanted, box) if same else 0.0
            if same and iou >= rule.iou and iou > 0:
                yield iou, left, right


def _area(box: GoldenBox) -> float:
    return (box[4] - box[2]) * (box[5] - box[3])
