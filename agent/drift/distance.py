"""How far a sample is from a distribution that is known by its quantiles. Pure."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence

# Shares of nought would make the index infinite.
_LEAST_SHARE = 0.01
# Edges of the index's bins among the quantiles: 20, 40, 60 and 80 %. Few bins, because windows are small.
_EDGES = slice(4, 17, 4)


def quantiles(values: Sequence[float], count: int) -> list[float]:
    """Return `count` quantiles from least to greatest, interpolated; `values` is not empty."""
    ordered, last = sorted(values), len(values) - 1
    places = [last * index / (count - 1) for index in range(count)]
    found = []
    for place in places:
        low = math.floor(place)
        high = min(low + 1, last)
        found.append(round(ordered[low] + (ordered[high] - ordered[low]) * (place - low), 5))
    return found


def median(ordered: Sequence[float]) -> float:
    """Return the middle of ascending values."""
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def psi(known: Sequence[float], ordered: Sequence[float]) -> float:
    """Return the population stability index, sum of (found - expected) ln(found / expected) over five bins.

    Args:
        known: Quantiles of the distribution.
        ordered: The sample, ascending.
    """
    edges = sorted(set(known[_EDGES]))
    expected = _shares(known, edges)
    return _index(expected, _shares(ordered, edges))


def psi_of_shares(expected: Mapping[int, float], found: Mapping[int, float]) -> float:
    """Return the population stability index of shares by class."""
    classes = sorted(expected.keys() | found.keys())
    return _index(
        [expected.get(one, 0.0) for one in classes], [found.get(one, 0.0) for one in classes]
    )


def ks(known: Sequence[float], ordered: Sequence[float]) -> float:
    """Return the greatest distance of the two cumulative distributions, in [0, 1]."""
    furthest = 0.0
    for edge in {*known, *ordered}:
        furthest = max(furthest, abs(_below(known, edge) - _below(ordered, edge)))
    return furthest


def outside(known: Sequence[float], ordered: Sequence[float], margin: float) -> float:
    """Return the share of the sample that lies more than `margin` outside of the known 5 to 95 %."""
    low, high = known[1] - margin, known[-2] + margin
    inside = bisect_right(ordered, high) - bisect_left(ordered, low)
    return 1.0 - inside / len(ordered)


def shares_of(labels: Sequence[int]) -> dict[int, float]:
    """Return the share of each class."""
    return {label: count / len(labels) for label, count in sorted(Counter(labels).items())}


def correlation(one: Sequence[float], other: Sequence[float]) -> float:
    """Return Pearson's correlation, 1 where neither varies."""
    mean_one, mean_other = sum(one) / len(one), sum(other) / len(other)
    pairs = [(a - mean_one, b - mean_other) for a, b in zip(one, other, strict=True)]
    size = math.sqrt(sum(a * a for a, _ in pairs) * sum(b * b for _, b in pairs))
    return sum(a * b for a, b in pairs) / size if size else 1.0


def _below(ordered: Sequence[float], edge: float) -> float:
    return bisect_right(ordered, edge) / len(ordered)


def _shares(ordered: Sequence[float], edges: Sequence[float]) -> list[float]:
    cumulated = [0.0, *(_below(ordered, edge) for edge in edges), 1.0]
    return [high - low for low, high in itertools.pairwise(cumulated)]


def _index(expected: Sequence[float], found: Sequence[float]) -> float:
    total = 0.0
    for a, b in zip(expected, found, strict=True):
        low, high = max(a, _LEAST_SHARE), max(b, _LEAST_SHARE)
        total += (high - low) * math.log(high / low)
    return total
