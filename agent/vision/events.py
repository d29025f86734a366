"""The life of an object as events: `new`, `update`, `end`, with one id from first to last. Pure.

An object is announced once it was seen in `min_frames` frames with `min_score`, so that a flicker is no
event. It is updated at most every `update_every_s`, when it moved, its best score rose, a better picture
was taken, or it came to rest or moved on; a change of zone is told at once. It ends when it was not seen for
`end_after_s`, or when the camera closes.

Two clocks: `Moment.wall_ms` is what people read; `clock_ms` only moves with frames (see `FrameClock`), so
that a camera that pauses ends nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from agent.schema.events import Before, Event, SnapshotFacts
from agent.schema.messages import MESSAGE_VERSION
from agent.schema.recording import EventConfig
from agent.vision.golden import overlap

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from agent.vision.tracking import Sighting

_MOVED_IOU = 0.7
_RESTING_IOU = 0.85
_SCORE_STEP = 0.1
_LONGEST_STEP_MS = 1000.0


class Moment(NamedTuple):
    """When a frame was captured: Unix milliseconds, and milliseconds of the camera's own `FrameClock`."""

    wall_ms: int
    clock_ms: float


class FrameClock:
    """A clock that frames drive: however long none came, it moves on by a second at most.

    So an object lives on through a motion gate that rests or a model that needs seconds for a frame.
    """

    def __init__(self) -> None:
        self._last_ns: int | None = None
        self.now_ms = 0.0

    def at(self, captured_ns: int) -> float:
        """Return the time of a frame captured at `captured_ns` (monotonic), milliseconds."""
        if self._last_ns is not None:
            step_ms = (captured_ns - self._last_ns) / 1e6
            self.now_ms += min(max(step_ms, 0.0), _LONGEST_STEP_MS)
        self._last_ns = captured_ns
        return self.now_ms


@dataclass(frozen=True)
class Stage:
    """Where events happen: device, camera, boot (its id's start goes into event ids), release, class names."""

    device: str
    camera: str
    boot: str
    release: str
    labels: Sequence[str]


@dataclass
class Life:
    """One object from its first frame on.

    Attributes:
        rest_box: Where it last came to be; `rest_ms` since when (frame clock).
        zones: Zones it is in now; `entered` all that it was in.
        snapshot: Its best picture so far; `has_clip` whether one is being made.
    """

    sighting: Sighting
    start_ms: int
    seen: Moment
    top_score: float
    rest_box: tuple[float, float, float, float]
    rest_ms: float
    sightings: int = 1
    stationary: bool = False
    position_changes: int = 0
    zones: list[str] = field(default_factory=list)
    entered: list[str] = field(default_factory=list)
    speed_m_s: float | None = None
    snapshot: SnapshotFacts | None = None
    has_clip: bool = False
    told: Event | None = None
    told_ms: float = 0.0


class EventBook:
    """Turns the sightings of one camera into events; frames have the size `size` (width, height), pixels."""

    def __init__(self, stage: Stage, config: EventConfig | None = None) -> None:
        self._stage = stage
        self._config = config or EventConfig()
        self._labels = frozenset(self._config.labels)
        self._lives: dict[int, Life] = {}
        self.size = (0, 0)

    def see(self, sightings: Iterable[Sighting], now: Moment) -> list[Life]:
        """Take the tracked objects of a frame; return their lives, in that order."""
        return [
            self._see(sighting, now)
            for sighting in sightings
            if sighting.track and self._wants(sighting)
        ]

    def is_confirmed(self, life: Life) -> bool:
        """Return whether an object was seen often and well enough to be an event."""
        enough = life.sightings >= self._config.min_frames
        return life.told is not None or (enough and life.top_score >= self._config.min_score)

    def tell(self, life: Life, now: Moment) -> Event | None:
        """Return what is to be said of an object that was seen in this frame."""
        if life.told is None:
            return self._event("new", life, now) if self.is_confirmed(life) else None
        if life.zones != life.told.current_zones:
            return self._event("update", life, now)
        if now.clock_ms - life.told_ms < self._config.update_every_s * 1000:
            return None
        return self._event("update", life, now) if _has_news(life, life.told) else None

    def gone(self, now: Moment) -> list[Life]:
        """Forget and return the objects that were not seen for `end_after_s`."""
        return self._forget(now.clock_ms - self._config.end_after_s * 1000)

    def everybody(self) -> list[Life]:
        """Forget and return all objects."""
        return self._forget(float("inf"))

    def end(self, life: Life, wall_ms: int) -> Event | None:
        """Return the last event of an object that is gone; None when it never was one."""
        now = Moment(wall_ms, life.seen.clock_ms)
        return self._event("end", life, now) if life.told is not None else None

    def event_id(self, life: Life) -> str:
        """Return the id of an object's event."""
        stage = self._stage
        return f"{stage.boot[:8]}-{stage.camera}-{life.start_ms}-{life.sighting.track}"

    def label(self, life: Life) -> str:
        """Return the class name of an object."""
        return self._stage.labels[life.sighting.label]

    def _wants(self, sighting: Sighting) -> bool:
        return not self._labels or self._stage.labels[sighting.label] in self._labels

    def _see(self, sighting: Sighting, now: Moment) -> Life:
        life = self._lives.get(sighting.track)
        if life is None:
            score, box = sighting.score, sighting.box
            life = Life(sighting, now.wall_ms, now, score, box, now.clock_ms)
            self._lives[sighting.track] = life
            return life
        life.sighting, life.seen = sighting, now
        life.top_score = max(life.top_score, sighting.score)
        life.sightings += 1
        self._rest(life, now)
        return life

    def _rest(self, life: Life, now: Moment) -> None:
        """Notice that an object came to rest or moved on."""
        if _overlap(life.rest_box, life.sighting.box) < _RESTING_IOU:
            life.position_changes += life.stationary
            life.rest_box, life.rest_ms, life.stationary = life.sighting.box, now.clock_ms, False
        elif now.clock_ms - life.rest_ms >= self._config.stationary_after_s * 1000:
            life.stationary = True

    def _forget(self, before_ms: float) -> list[Life]:
        old = [track for track, life in self._lives.items() if life.seen.clock_ms <= before_ms]
        return [self._lives.pop(track) for track in old]

    def _event(self, kind: str, life: Life, now: Moment) -> Event:
        stage, box = self._stage, life.sighting.box
        width, height = self.size
        before = _before(life.told) if life.told else None
        life.told_ms = now.clock_ms
        life.told = Event(
            v=MESSAGE_VERSION,
            device=stage.device,
            camera=stage.camera,
            id=self.event_id(life),
            type=kind,
            label=self.label(life),
            score=round(life.sighting.score, 4),
            top_score=round(life.top_score, 4),
            box=rounded(box),
            start_ms=life.start_ms,
            at_ms=now.wall_ms,
            end_ms=life.seen.wall_ms if kind == "end" else None,
            release=stage.release,
            width=width,
            height=height,
            area=round((box[2] - box[0]) * (box[3] - box[1]), 1),
            current_zones=list(life.zones),
            entered_zones=list(life.entered),
            stationary=life.stationary,
            position_changes=life.position_changes,
            speed_m_s=life.speed_m_s,
            has_snapshot=life.snapshot is not None,
            has_clip=life.has_clip,
            snapshot=life.snapshot,
            before=before,
        )
        return life.told


def _has_news(life: Life, told: Event) -> bool:
    return (
        _overlap(told.box, life.sighting.box) < _MOVED_IOU
        or life.top_score - told.top_score >= _SCORE_STEP
        or life.stationary != told.stationary
        or life.snapshot != told.snapshot
        or life.speed_m_s != told.speed_m_s
    )


def _before(told: Event) -> Before:
    return Before(
        at_ms=told.at_ms,
        score=told.score,
        top_score=told.top_score,
        box=told.box,
        current_zones=told.current_zones,
        entered_zones=told.entered_zones,
        stationary=told.stationary,
    )


def rounded(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """Return a box as messages give it: tenths of a pixel."""
    x_min, y_min, x_max, y_max = (round(side, 1) for side in box)
    return x_min, y_min, x_max, y_max


def _overlap(
    left: tuple[float, float, float, float], right: tuple[float, float, float, float]
) -> float:
    return overlap((0, 0.0, *left), (0, 0.0, *right))
