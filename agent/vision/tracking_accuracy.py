"""How well ids follow objects: CLEAR MOT and IDF1 of tracks against labelled tracks. Pure.

Formulas
- MOTA = 1 - (misses + false boxes + id switches) / labelled boxes: Bernardin and Stiefelhagen, "Evaluating
  Multiple Object Tracking Performance: The CLEAR MOT Metrics", 2008. A pair of the frame before is kept while it
  still overlaps; only the rest is assigned anew.
- IDF1 = 2 IDTP / (labelled + found boxes), under the assignment of whole tracks that makes IDTP greatest:
  Ristani et al., "Performance Measures and a Data Set for Multi-Target, Multi-Camera Tracking", 2016.
A box counts as an object's when it has its class and an IoU of at least `MATCH_IOU` with it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from agent.vision.golden import overlap

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

MATCH_IOU = 0.5


class Tracked(NamedTuple):
    """A box with the track it belongs to: corners in pixels."""

    track: int
    label: int
    box: tuple[float, float, float, float]


class TrackingReport(msgspec.Struct, frozen=True):
    """How well tracks follow objects; `switches` counts how often an object's track changed.

    `mostly_tracked` objects were followed in at least 80 % of their frames.
    """

    frames: int
    boxes: int
    objects: int
    tracks: int
    mota: float
    idf1: float
    switches: int
    misses: int
    false_boxes: int
    fragments: int
    mostly_tracked: int


@dataclass
class _Tally:
    """What frames add up to."""

    frames: int = 0
    labelled: int = 0
    found: int = 0
    matches: int = 0
    switches: int = 0
    fragments: int = 0
    last: dict[int, int] = field(default_factory=dict)  # object -> its latest track
    current: dict[int, int] = field(default_factory=dict)  # object -> track, in the frame before
    seen: Counter[int] = field(default_factory=Counter)
    followed: Counter[int] = field(default_factory=Counter)
    tracks: Counter[int] = field(default_factory=Counter)
    together: Counter[tuple[int, int]] = field(default_factory=Counter)


def tracking_accuracy(
    frames: Iterable[tuple[Sequence[Tracked], Sequence[Tracked]]],
) -> TrackingReport:
    """Compare, frame by frame, labelled objects with found tracks; track numbers are positive."""
    tally = _Tally()
    for labelled, found in frames:
        _take(tally, labelled, found)
    misses, false_boxes = tally.labelled - tally.matches, tally.found - tally.matches
    wrong = misses + false_boxes + tally.switches
    boxes = tally.labelled + tally.found
    followed = [tally.followed[one] / times for one, times in tally.seen.items()]
    return TrackingReport(
        frames=tally.frames,
        boxes=tally.labelled,
        objects=len(tally.seen),
        tracks=len(tally.tracks),
        mota=round(1 - wrong / max(tally.labelled, 1), 4),
        idf1=round(2 * _identity_matches(tally.together) / boxes, 4) if boxes else 1.0,
        switches=tally.switches,
        misses=misses,
        false_boxes=false_boxes,
        fragments=tally.fragments,
        mostly_tracked=sum(share >= 0.8 for share in followed),  # noqa: PLR2004 - the usual definition
    )


def _take(tally: _Tally, labelled: Sequence[Tracked], found: Sequence[Tracked]) -> None:
    tally.frames += 1
    tally.labelled += len(labelled)
    tally.found += len(found)
    tally.seen.update(one.track for one in labelled)
    tally.tracks.update(one.track for one in found)
    closeness = _closeness(labelled, found)
    for row, column in zip(*np.nonzero(closeness >= MATCH_IOU), strict=True):
        tally.together[labelled[row].track, found[column].track] += 1
    pairs = _pairs(tally.current, labelled, found, closeness)
    for thing, track in pairs.items():
        before = tally.last.get(thing)
        tally.switches += before is not None and before != track
        tally.fragments += before is not None and thing not in tally.current
    tally.last.update(pairs)
    tally.followed.update(pairs)
    tally.matches += len(pairs)
    # An object that is out of sight is not interrupted by its tracker.
    visible = {one.track for one in labelled}
    kept = {thing: track for thing, track in tally.current.items() if thing not in visible}
    tally.current = {**kept, **pairs}


def _pairs(
    before: dict[int, int],
    labelled: Sequence[Tracked],
    found: Sequence[Tracked],
    closeness: NDArray[np.float64],
) -> dict[int, int]:
    """Return which object has which track in this frame: old pairs that hold, then the closest."""
    columns = {one.track: column for column, one in enumerate(found)}
    pairs: dict[int, int] = {}
    free = closeness.copy()
    for row, one in enumerate(labelled):
        column = columns.get(before.get(one.track, 0))
        if column is not None and closeness[row, column] >= MATCH_IOU and free[row, column] >= 0:
            pairs[one.track] = found[column].track
            free[row, :] = free[:, column] = -1
    # A pair counts more than any closeness, so that as many as possible are made.
    weights = np.where(free >= MATCH_IOU, 1 + free, 0)
    for row, column in best_assignment(weights):
        pairs[labelled[row].track] = found[column].track
    return pairs


def _closeness(labelled: Sequence[Tracked], found: Sequence[Tracked]) -> NDArray[np.float64]:
    """Return the IoU of every object with every box of its class, shape (objects, boxes), 0 for other classes."""
    table = np.zeros((len(labelled), len(found)))
    for row, left in enumerate(labelled):
        for column, right in enumerate(found):
            if left.label == right.label:
                table[row, column] = overlap((0, 0.0, *left.box), (0, 0.0, *right.box))
    return table


def _identity_matches(together: Counter[tuple[int, int]]) -> int:
    """Return IDTP: frames in which objects have their tracks, one track for each object, at best."""
    things = sorted({thing for thing, _ in together})
    tracks = sorted({track for _, track in together})
    weights = np.zeros((len(things), len(tracks)))
    for (thing, track), times in together.items():
        weights[things.index(thing), tracks.index(track)] = times
    return int(sum(weights[row, column] for row, column in best_assignment(weights)))


def best_assignment(weights: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Return pairs (row, column) with the greatest sum of weights >= 0; pairs of weight 0 are left out.

    The Hungarian method with potentials, O(n^2 m): Kuhn 1955, Munkres 1957.
    """
    if weights.size == 0:
        return []
    if weights.shape[0] > weights.shape[1]:
        return [(row, column) for column, row in best_assignment(weights.T)]
    costs = weights.max() - weights
    rows, columns = costs.shape
    row_prices, column_prices = np.zeros(rows + 1), np.zeros(columns + 1)
    row_of = np.zeros(columns + 1, int)  # row of each column, both counted from 1; 0 for none
    for row in range(1, rows + 1):
        _add_row(row, costs, row_prices, column_prices, row_of)
    pairs = [(int(row_of[column]) - 1, column - 1) for column in range(1, columns + 1)]
    return [(row, column) for row, column in pairs if row >= 0 and weights[row, column] > 0]


def _add_row(
    row: int,
    costs: NDArray[np.float64],
    row_prices: NDArray[np.float64],
    column_prices: NDArray[np.float64],
    row_of: NDArray[np.int_],
) -> None:
    """Give `row` a column along the cheapest path of changes."""
    columns = costs.shape[1]
    row_of[0], here = row, 0
    slack = np.full(columns + 1, np.inf)
    came_from = np.zeros(columns + 1, int)
    done = np.zeros(columns + 1, bool)
    while row_of[here]:
        done[here] = True
        now = row_of[here]
        reduced = costs[now - 1] - row_prices[now] - column_prices[1:]
        better = ~done[1:] & (reduced < slack[1:])
        slack[1:][better], came_from[1:][better] = reduced[better], here
        following = int(np.argmin(np.where(done, np.inf, slack)))
        step = slack[following]
        row_prices[row_of[done]] += step
        column_prices[done] -= step
        slack[~done] -= step
        here = following
    while here:
        row_of[here] = row_of[came_from[here]]
        here = came_from[here]
