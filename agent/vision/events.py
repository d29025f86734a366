"""The life of an object as events: `new`, `update`, `end`, with one id from first to last. Pure.

An object is announced once it was seen in `NEW_AFTER_SIGHTINGS` frames, so that a flicker is no event; it
is updated at most once a second, when it moved or its best score rose; it ends when it was not seen for
`END_AFTER_MS`, or when the camera closes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.schema.messages import MESSAGE_VERSION, Event
from agent.vision.golden import overlap

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from agent.vision.tracking import Sighting

NEW_AFTER_SIGHTINGS = 3
END_AFTER_MS = 2000
_UPDATE_EVERY_MS = 1000
_MOVED_IOU = 0.7
_SCORE_STEP = 0.1


@dataclass(frozen=True)
class Stage:
    """Where events happen: device, camera, boot (its id's start goes into event ids), release, class names."""

    device: str
    camera: str
    boot: str
    release: str
    labels: Sequence[str]


@dataclass
class _Life:
    sighting: Sighting
    start_ms: int
    seen_ms: int
    top_score: float
    sightings: int = 1
    told: Event | None = None


class EventBook:
    """Turns the sightings of one camera into events."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._lives: dict[int, _Life] = {}

    def update(self, sightings: Iterable[Sighting], now_ms: int) -> list[Event]:
        """Return the events of a frame captured at `now_ms` (Unix milliseconds)."""
        seen = [self._see(sighting, now_ms) for sighting in sightings if sighting.track]
        events = [event for life in seen if (event := self._tell(life, now_ms))]
        return events + self._end(now_ms - END_AFTER_MS, now_ms)

    def close(self, now_ms: int) -> list[Event]:
        """Return the ends of all objects that are still there."""
        return self._end(now_ms, now_ms)

    def _see(self, sighting: Sighting, now_ms: int) -> _Life:
        life = self._lives.get(sighting.track)
        if life is None:
            life = _Life(sighting, now_ms, now_ms, sighting.score)
            self._lives[sighting.track] = life
            return life
        life.sighting, life.seen_ms = sighting, now_ms
        life.top_score = max(life.top_score, sighting.score)
        life.sightings += 1
        return life

    def _tell(self, life: _Life, now_ms: int) -> Event | None:
        if life.told is None:
            confirmed = life.sightings >= NEW_AFTER_SIGHTINGS
            return self._event("new", life, now_ms) if confirmed else None
        if now_ms - life.told.at_ms < _UPDATE_EVERY_MS:
            return None
        moved = overlap((0, 0.0, *life.told.box), (0, 0.0, *life.sighting.box)) < _MOVED_IOU
        surer = life.top_score - life.told.top_score >= _SCORE_STEP
        return self._event("update", life, now_ms) if moved or surer else None

    def _end(self, before_ms: int, now_ms: int) -> list[Event]:
        """Forget what was last seen at or before `before_ms`; return ends of what had been announced."""
        gone = {track: life for track, life in self._lives.items() if life.seen_ms <= before_ms}
        for track in gone:
            del self._lives[track]
        return [self._event("end", life, now_ms) for life in gone.values() if life.told]

    def _event(self, kind: str, life: _Life, now_ms: int) -> Event:
        stage, sighting = self._stage, life.sighting
        life.told = Event(
            v=MESSAGE_VERSION,
            device=stage.device,
            camera=stage.camera,
            id=f"{stage.boot[:8]}-{stage.camera}-{life.start_ms}-{sighting.track}",
            type=kind,
            label=stage.labels[sighting.label],
            score=round(sighting.score, 4),
            top_score=round(life.top_score, 4),
            box=sighting.box,
            start_ms=life.start_ms,
            at_ms=now_ms,
            end_ms=life.seen_ms if kind == "end" else None,
            release=stage.release,
        )
        return life.told
