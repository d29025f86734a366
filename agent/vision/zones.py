"""Zones and lines: who is in which zone, who crossed which line, how fast. Pure decisions.

Rules
- An object stands where its anchor is: the middle of its box's lower edge, or the box's centre.
- It has entered a zone after `inertia` frames inside, and left it after as many outside; one that jitters on
  the border does neither. Times count from the first frame on the other side.
- A line knows sides, not frames: an object crosses when it was clearly on one side and is clearly on the
  other, and its path between the two runs through the line. Close to the line it is on neither.
- An object that is no event yet is followed, but does nothing: what it did is told once it is confirmed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from agent.schema.events import LineReport, PlaceAction, ZoneReport
from agent.schema.zones import Anchor
from agent.vision.geometry import anchors, distances, inside, runs_through, side_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from agent.schema.zones import LineConfig, Places, ZoneConfig

FORWARD, BACKWARD = "forward", "backward"


class Seen(NamedTuple):
    """One object of a frame: normalised box (x_min, y_min, x_max, y_max), its best score so far."""

    track: int
    label: str
    score: float
    box: tuple[float, float, float, float]
    confirmed: bool


@dataclass(frozen=True)
class Notice:
    """What an object did; fields as in `ZoneEvent`."""

    action: PlaceAction
    place: str
    track: int
    direction: str = ""
    dwell_ms: int | None = None
    speed_m_s: float | None = None
    count: int = 0


@dataclass
class _Stay:
    """One object and one zone: since when it has been on this side of the border, and for how many frames."""

    label: str
    entered_ms: float = 0.0
    inside: bool = False
    changing: int = 0
    changed_ms: float = 0.0
    loitered: bool = False


@dataclass
class _Side:
    """Where an object last was clearly on one side (-1 or 1) of a line, and when."""

    side: int
    point: NDArray[np.float64]
    at_ms: float


@dataclass
class _Zone:
    config: ZoneConfig
    corners: NDArray[np.float64]
    stays: dict[int, _Stay] = field(default_factory=dict)
    entered: int = 0

    def occupants(self) -> list[str]:
        return [stay.label for stay in self.stays.values() if stay.inside]


@dataclass
class _Line:
    config: LineConfig
    sides: dict[int, _Side] = field(default_factory=dict)
    crossed: dict[str, int] = field(default_factory=lambda: {FORWARD: 0, BACKWARD: 0})


class ZoneBook:
    """Follows the objects of one camera through its zones and over its lines; times are monotonic milliseconds."""

    def __init__(self, places: Places) -> None:
        self._zones = [_Zone(zone, np.array(zone.polygon, np.float64)) for zone in places.zones]
        self._lines = [_Line(line) for line in places.lines]
        self._speeds = places.speeds
        self._crossings: dict[tuple[str, int], float] = {}
        self._timed = {speed.name: {FORWARD: 0, BACKWARD: 0} for speed in places.speeds}

    @property
    def idle(self) -> bool:
        """Whether there is nothing to look at."""
        return not (self._zones or self._lines)

    def update(self, seen: Sequence[Seen], now_ms: float) -> list[Notice]:
        """Take the objects of one frame; return what they did, zones first."""
        if not seen or self.idle:
            return []
        boxes = np.array([one.box for one in seen], np.float64)
        points = {anchor: anchors(boxes, anchor) for anchor in Anchor}
        notices: list[Notice] = []
        for zone in self._zones:
            within = inside(points[zone.config.anchor], zone.corners)
            for one, is_in in zip(seen, within.tolist(), strict=True):
                if _counts(zone.config, one):
                    notices += self._stay(zone, one, now_ms, is_in=is_in)
        for line in self._lines:
            notices += self._cross(line, seen, points[line.config.anchor], now_ms)
        return notices

    def forget(self, track: int, now_ms: float) -> list[Notice]:
        """An object is gone: it leaves every zone that it was in."""
        notices = []
        for zone in self._zones:
            stay = zone.stays.pop(track, None)
            if stay is not None and stay.inside:
                dwell_ms = int(now_ms - stay.entered_ms)
                notices.append(_leave(zone, track, dwell_ms))
        for line in self._lines:
            line.sides.pop(track, None)
            self._crossings.pop((line.config.name, track), None)
        return notices

    def zones_of(self, track: int) -> list[str]:
        """Return the zones that an object is in, in the order of the configuration."""
        return [
            zone.config.name
            for zone in self._zones
            if (stay := zone.stays.get(track)) is not None and stay.inside
        ]

    def zone_reports(self) -> list[ZoneReport]:
        """Return who is where, zone by zone."""
        return [
            ZoneReport(
                name=zone.config.name, occupancy=_tally(zone.occupants()), entered=zone.entered
            )
            for zone in self._zones
        ]

    def line_reports(self) -> list[LineReport]:
        """Return how often each line was crossed."""
        return [LineReport(name=line.config.name, **line.crossed) for line in self._lines]

    def _stay(self, zone: _Zone, one: Seen, now_ms: float, *, is_in: bool) -> list[Notice]:
        stay = zone.stays.get(one.track)
        if stay is None:
            if not is_in:
                return []
            stay = zone.stays[one.track] = _Stay(one.label)
        if is_in == stay.inside:
            stay.changing = 0
            return self._loiter(zone, stay, one, now_ms)
        if stay.changing == 0:
            stay.changed_ms = now_ms
        stay.changing += 1
        if stay.changing < zone.config.inertia or not one.confirmed:
            return []
        stay.changing, stay.inside = 0, is_in
        if not is_in:
            del zone.stays[one.track]
            return [_leave(zone, one.track, int(stay.changed_ms - stay.entered_ms))]
        stay.entered_ms = stay.changed_ms
        zone.entered += 1
        count = len(zone.occupants())
        entered = Notice(PlaceAction.ENTER, zone.config.name, one.track, count=count)
        return [entered, *self._loiter(zone, stay, one, now_ms)]

    @staticmethod
    def _loiter(zone: _Zone, stay: _Stay, one: Seen, now_ms: float) -> list[Notice]:
        limit_s, dwell_ms = zone.config.loiter_s, now_ms - stay.entered_ms
        if not stay.inside or stay.loitered or limit_s is None or dwell_ms < limit_s * 1000:
            return []
        stay.loitered = True
        place, count = zone.config.name, len(zone.occupants())
        return [Notice(PlaceAction.LOITER, place, one.track, dwell_ms=int(dwell_ms), count=count)]

    def _cross(
        self, line: _Line, seen: Sequence[Seen], points: NDArray[np.float64], now_ms: float
    ) -> list[Notice]:
        start, end = np.array(line.config.start), np.array(line.config.end)
        apart = distances(points, start, end)
        notices = []
        for index, one in enumerate(seen):
            side = side_of(float(apart[index]))
            if side == 0 or not _counts(line.config, one):
                continue
            now = _Side(side, points[index], now_ms)
            before = line.sides.setdefault(one.track, now)
            # Until it is confirmed its first place is kept, so that a crossing meanwhile is not lost.
            if one.confirmed:
                line.sides[one.track] = now
                if before.side != side and runs_through(before.point, now.point, start, end):
                    notices += self._crossed(line, one.track, before, now, start, end)
        return notices

    def _crossed(
        self,
        line: _Line,
        track: int,
        before: _Side,
        now: _Side,
        start: NDArray[np.float64],
        end: NDArray[np.float64],
    ) -> list[Notice]:
        direction = FORWARD if now.side > 0 else BACKWARD
        line.crossed[direction] += 1
        name = line.config.name
        far, near = np.abs(distances(np.stack([before.point, now.point]), start, end)).tolist()
        crossed_ms = before.at_ms + (now.at_ms - before.at_ms) * far / (far + near)
        self._crossings[name, track] = crossed_ms
        count = line.crossed[direction]
        crossing = Notice(PlaceAction.CROSS, name, track, direction=direction, count=count)
        return [crossing, *self._measure(name, track, crossed_ms)]

    def _measure(self, name: str, track: int, crossed_ms: float) -> list[Notice]:
        """Return the speeds that a crossing of the line `name` completes."""
        notices = []
        for speed in self._speeds:
            if name not in {speed.first, speed.second}:
                continue
            direction = FORWARD if name == speed.second else BACKWARD
            other = speed.first if name == speed.second else speed.second
            began_ms = self._crossings.pop((other, track), None)
            if began_ms is None or crossed_ms <= began_ms:
                continue
            metres_a_second = round(speed.distance_m * 1000 / (crossed_ms - began_ms), 3)
            counts = self._timed[speed.name]
            counts[direction] += 1
            notices.append(
                Notice(
                    PlaceAction.SPEED, speed.name, track, direction,
                    speed_m_s=metres_a_second, count=counts[direction],
                )
            )  # fmt: skip
        return notices


def _counts(place: ZoneConfig | LineConfig, one: Seen) -> bool:
    return one.score >= place.min_score and (not place.labels or one.label in place.labels)


def _leave(zone: _Zone, track: int, dwell_ms: int) -> Notice:
    count = len(zone.occupants())
    return Notice(PlaceAction.LEAVE, zone.config.name, track, dwell_ms=dwell_ms, count=count)


def _tally(labels: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for label in labels:
        counts[label] = counts.get(label, 0) + 1
    return counts
