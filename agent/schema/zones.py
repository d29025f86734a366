"""Zones, lines and privacy of one camera as the operator writes them, and what can be wrong with them.

All places are in normalised coordinates: (0, 0) is the picture's upper left corner, (1, 1) its lower right,
so that they hold at every resolution. Pure data; the worker's `vision.zones` decides with it.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise
from typing import Annotated, NamedTuple

import msgspec

from agent.schema.values import Fraction, Identifier, Positive, PositiveFloat, Struct

Point = tuple[Fraction, Fraction]
Polygon = Annotated[list[Point], msgspec.Meta(min_length=3, max_length=64)]
Label = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
# Least area of a polygon and least length of a line, as shares of the picture and of its sides.
_LEAST_AREA = 1e-4
_LEAST_LENGTH = 1e-2


class Anchor(str, enum.Enum):
    """Which point of its box an object stands at: where it meets the ground, or its middle (seen from above)."""

    BOTTOM = "bottom"
    CENTER = "center"


class ZoneConfig(Struct):
    """An area that objects enter, leave and stay in.

    Attributes:
        polygon: Its corners, in order round it; edges must not cross.
        labels: Classes that count; empty for all.
        min_score: Least best score of an object that counts.
        loiter_s: After so many seconds inside an object loiters; null to not look for it.
        inertia: Frames that an object must be inside to have entered, and outside to have left.
    """

    name: Identifier
    polygon: Polygon
    labels: list[Label] = []
    min_score: Fraction = 0.0
    loiter_s: PositiveFloat | None = None
    inertia: Positive = 3
    anchor: Anchor = Anchor.BOTTOM


class LineConfig(Struct):
    """A line that objects cross: `forward` from its left to its right as seen from `start` towards `end`."""

    name: Identifier
    start: Point
    end: Point
    labels: list[Label] = []
    min_score: Fraction = 0.0
    anchor: Anchor = Anchor.BOTTOM


class SpeedConfig(Struct):
    """Speed between two lines of this camera that lie `distance_m` metres apart on the ground."""

    name: Identifier
    first: Identifier
    second: Identifier
    distance_m: PositiveFloat


class MaskConfig(Struct):
    """An area that is blackened before anything looks at the picture, the model included."""

    name: Identifier
    polygon: Polygon


class PrivacyConfig(Struct):
    """What of this camera's pictures must never leave the worker's memory.

    Attributes:
        masks: Areas that are blackened in every frame, before the model sees it.
        blur: Classes whose boxes are made unrecognisable in every picture that is shown, kept or sent.
        blur_margin: How far beyond its box an object is blurred, as a share of the box's sides.
    """

    masks: list[MaskConfig] = []
    blur: list[Label] = []
    blur_margin: Fraction = 0.1


class Places(NamedTuple):
    """All that one camera's entry says about places."""

    zones: Sequence[ZoneConfig]
    lines: Sequence[LineConfig]
    speeds: Sequence[SpeedConfig]
    masks: Sequence[MaskConfig]


class PlaceFault(NamedTuple):
    """One fault: where below the camera's entry, what was expected, what was found."""

    place: str
    expected: str
    found: object


def find_faults(places: Places) -> Iterator[PlaceFault]:
    """Yield what is wrong with a camera's places beyond what their types forbid; nothing when all is well."""
    yield from _repeated(places)
    polygons: dict[str, Sequence[ZoneConfig | MaskConfig]] = {
        "zones": places.zones,
        "privacy.masks": places.masks,
    }
    for kind, areas in polygons.items():
        for index, one in enumerate(areas):
            problem = polygon_problem(one.polygon)
            if problem:
                yield PlaceFault(f"{kind}[{index}].polygon", "a simple polygon", problem)
    for index, line in enumerate(places.lines):
        if _distance(line.start, line.end) < _LEAST_LENGTH:
            expected = f"two points at least {_LEAST_LENGTH} apart"
            yield PlaceFault(f"lines[{index}]", expected, [line.start, line.end])
    yield from _speed_faults(places)


def _repeated(places: Places) -> Iterator[PlaceFault]:
    """Zones, lines and speeds share one space of names: their events tell them apart by it."""
    seen: set[str] = set()
    named: dict[str, Sequence[ZoneConfig | LineConfig | SpeedConfig]] = {
        "zones": places.zones,
        "lines": places.lines,
        "speeds": places.speeds,
    }
    for kind, entries in named.items():
        for index, one in enumerate(entries):
            if one.name in seen:
                expected = "a name that no other zone, line or speed of this camera has"
                yield PlaceFault(f"{kind}[{index}].name", expected, one.name)
            seen.add(one.name)


def _speed_faults(places: Places) -> Iterator[PlaceFault]:
    lines = {line.name for line in places.lines}
    known = ", ".join(sorted(lines)) or "none is configured"
    for index, speed in enumerate(places.speeds):
        for side, name in (("first", speed.first), ("second", speed.second)):
            if name not in lines:
                expected = f"the name of a line of this camera ({known})"
                yield PlaceFault(f"speeds[{index}].{side}", expected, name)
        if speed.first == speed.second:
            yield PlaceFault(f"speeds[{index}].second", "another line than first", speed.second)


def polygon_problem(polygon: Sequence[Point]) -> str:
    """Return why a polygon is none that can be used; empty when it can."""
    corners = [*polygon, polygon[0]]
    edges = list(pairwise(corners))
    for here, there in edges:
        if here == there:
            return f"the corner {list(here)} twice in a row"
    for (left, one), (right, other) in combinations(enumerate(edges), 2):
        beside = right - left == 1 or right - left == len(edges) - 1
        if not beside and _meet(*one, *other):
            return f"edges {left + 1} and {right + 1} cross"
    if _area(corners) < _LEAST_AREA:
        return "an area of nearly nothing"
    return ""


def _area(corners: Sequence[Point]) -> float:
    """Area by the shoelace formula; the first corner is also the last."""
    return abs(sum(a[0] * b[1] - b[0] * a[1] for a, b in pairwise(corners))) / 2


def _distance(here: Point, there: Point) -> float:
    return float(((here[0] - there[0]) ** 2 + (here[1] - there[1]) ** 2) ** 0.5)


def _meet(a: Point, b: Point, c: Point, d: Point) -> bool:
    """Whether the segments a-b and c-d have a point in common."""
    sides = (_side(a, b, c), _side(a, b, d), _side(c, d, a), _side(c, d, b))
    if sides[0] * sides[1] < 0 and sides[2] * sides[3] < 0:
        return True
    touching = ((a, b, c), (a, b, d), (c, d, a), (c, d, b))
    return any(side == 0 and _within(*points) for side, points in zip(sides, touching, strict=True))


def _side(a: Point, b: Point, point: Point) -> float:
    return (b[0] - a[0]) * (point[1] - a[1]) - (b[1] - a[1]) * (point[0] - a[0])


def _within(a: Point, b: Point, point: Point) -> bool:
    """Whether a point on the line through a and b lies between them."""
    return all(min(a[axis], b[axis]) <= point[axis] <= max(a[axis], b[axis]) for axis in (0, 1))
