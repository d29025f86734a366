"""What the publishing thread keeps for one camera: tracks, events, zones, pictures; and what it sends of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from agent.host.clock import monotonic_ns, wall_ms
from agent.schema.events import PictureKind, ZoneEvent
from agent.schema.ipc import EventPicture, FrameResult, Message, ObjectEvent, PlaceNotice
from agent.schema.messages import MESSAGE_VERSION
from agent.schema.values import Box
from agent.schema.zones import Places
from agent.vision.album import Album
from agent.vision.clips import ClipRing
from agent.vision.events import EventBook, FrameClock, Moment
from agent.vision.figures import FigureClock, figures_of
from agent.vision.privacy import SafePicture
from agent.vision.shapes import ranking_of, shapes_of
from agent.vision.tracking import Sighting, Tracker
from agent.vision.zones import Seen, ZoneBook

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from agent.schema.config import CameraConfig
    from agent.schema.drift import FigureRules, FrameFigures
    from agent.schema.events import Event, LineReport, ZoneReport
    from agent.schema.recording import EventConfig
    from agent.schema.zones import LineConfig, ZoneConfig
    from agent.vision.cameras import Frame
    from agent.vision.detector import Detected
    from agent.vision.events import Life, Stage
    from agent.vision.image import Scaled
    from agent.vision.privacy import Redactor
    from agent.vision.zones import Notice


@dataclass(frozen=True)
class Processed:
    """A frame after inference: `detected` is None where it failed with the code `error`.

    `queued_ms` is how long the frame waited for its turn, `finished_ns` when inference was done. `scaled` is what
    the network saw.
    """

    camera: str
    frame: Frame
    detected: Detected | None
    queued_ms: float
    finished_ns: int
    error: str = ""
    scaled: Scaled | None = None


@dataclass(frozen=True)
class Published:
    """The newest picture of a camera that may be seen, with its boxes, in its pixels."""

    picture: SafePicture
    boxes: list[Box]


class Parcel(NamedTuple):
    """A message, and the bytes that travel beside it in a memfd."""

    message: Message
    data: bytes = b""


@dataclass(frozen=True)
class DeskRules:
    """What a desk goes by; `confidence` is the least score that begins a track."""

    stage: Stage
    confidence: float
    camera: CameraConfig
    events: EventConfig
    figures: FigureRules | None = None


class CameraDesk:
    """Turns one camera's processed frames into messages; used by the publishing thread, read by others."""

    def __init__(self, rules: DeskRules, redactor: Redactor) -> None:
        camera = rules.camera
        self._stage, self._confidence = rules.stage, rules.confidence
        self._figure_rules = rules.figures
        self._figure_clock = FigureClock(rules.figures)
        self._redactor = redactor
        self._tracker = Tracker(rules.confidence)
        self._book = EventBook(rules.stage, rules.events)
        self._zones = ZoneBook(
            Places(camera.zones, camera.lines, camera.speeds, camera.privacy.masks)
        )
        self._album = Album(rules.events.snapshots)
        self._ring = ClipRing(rules.events.clips)
        self._clock = FrameClock()
        self.name = camera.name
        self.newest: Published | None = None
        self.processed = 0
        self._fed_ns = 0
        self._film_ms = 0.0  # when the newest frame was captured, monotonic
        self.places: tuple[list[ZoneReport], list[LineReport]] = ([], [])
        self.problem = redactor.problem or _strange_labels(rules)

    def take(self, done: Processed) -> Iterator[Parcel]:
        """Yield what to send for one processed frame: its result at once, then all that it caused."""
        self.processed += 1
        self._fed_ns = monotonic_ns()
        self._film_ms = done.frame.captured_ns / 1e6
        sightings = self._track(done)
        boxes = [_box(seen) for seen in sightings if seen.score >= self._confidence]
        picture = self._redactor.show(done.frame, done.detected)
        if picture is not None:
            self.newest = Published(picture, boxes)
        yield Parcel(_result(done, boxes, self._figures(done)))
        if picture is not None:
            self._ring.add(picture, self._film_ms)
        if done.detected is not None:
            yield from self._happenings(sightings, done.frame, picture)
        yield from self._clips(self._ring.ready(self._film_ms))
        self.places = self._zones.zone_reports(), self._zones.line_reports()

    @property
    def hungry_s(self) -> float:
        """Seconds since the last frame."""
        return (monotonic_ns() - self._fed_ns) / 1e9

    def close(self) -> list[Parcel]:
        """End all that is open, because the camera closes or gives no frames any more."""
        now_ms, parcels = wall_ms(), []
        for life in self._book.everybody():
            parcels += self._part(life, now_ms)
        parcels += self._clips(self._ring.rest())
        # What comes after a gap is not what was there before it.
        self._tracker = Tracker(self._confidence)
        self.places = self._zones.zone_reports(), self._zones.line_reports()
        return parcels

    def _figures(self, done: Processed) -> FrameFigures | None:
        if self._figure_rules is None or done.scaled is None or done.detected is None:
            return None
        if not self._figure_clock.is_due(done.frame.captured_ns):
            return None
        return figures_of(done.scaled, done.detected, self._figure_rules.confidence)

    def _track(self, done: Processed) -> list[Sighting]:
        if done.detected is None:
            return []
        height, width = done.frame.image.shape[:2]
        self._book.size = (width, height)
        clock_ms = self._clock.at(done.frame.captured_ns)
        return self._tracker.update(done.detected, int(clock_ms * 1e6))

    def _happenings(
        self, sightings: list[Sighting], frame: Frame, picture: SafePicture | None
    ) -> list[Parcel]:
        now, parcels = Moment(frame.captured_ms, self._clock.now_ms), []
        lives = self._book.see(sightings, now)
        notices = self._look_at_places(lives, now)
        for life in lives:
            if picture is not None and self._book.is_confirmed(life):
                self._album.consider(life, picture, now.clock_ms)
            parcels += self._tell(life, now)
        by_track = {life.sighting.track: life for life in lives}
        parcels += [self._notice(notice, by_track[notice.track], now.wall_ms) for notice in notices]
        for life in self._book.gone(now):
            parcels += self._part(life, now.wall_ms)
        return parcels

    def _look_at_places(self, lives: list[Life], now: Moment) -> list[Notice]:
        if self._zones.idle:
            return []
        width, height = self._book.size
        seen = [self._seen(life, width, height) for life in lives]
        notices = self._zones.update(seen, now.clock_ms)
        for life in lives:
            life.zones = self._zones.zones_of(life.sighting.track)
            life.entered += [zone for zone in life.zones if zone not in life.entered]
        speeds = {one.track: one.speed_m_s for one in notices if one.speed_m_s is not None}
        for life in lives:
            life.speed_m_s = speeds.get(life.sighting.track, life.speed_m_s)
        return notices

    def _seen(self, life: Life, width: int, height: int) -> Seen:
        x_min, y_min, x_max, y_max = life.sighting.box
        box = (x_min / width, y_min / height, x_max / width, y_max / height)
        label, confirmed = self._book.label(life), self._book.is_confirmed(life)
        return Seen(life.sighting.track, label, life.top_score, box, confirmed)

    def _tell(self, life: Life, now: Moment) -> list[Parcel]:
        is_new = life.told is None
        life.has_clip = self._ring.enabled
        event = self._book.tell(life, now)
        if event is None:
            return []
        if is_new:
            began_ms = self._film_ms - (now.wall_ms - life.start_ms)
            self._ring.begin(event.id, began_ms)
        return self._event(event, life)

    def _part(self, life: Life, at_ms: int) -> list[Parcel]:
        """Return the end of an object: it leaves its zones, its best picture goes out, then its last event."""
        left = self._zones.forget(life.sighting.track, life.seen.clock_ms)
        event = self._book.end(life, at_ms)
        parcels = []
        if event is not None:
            self._ring.finish(event.id, self._film_ms)
            parcels = [self._notice(notice, life, at_ms) for notice in left]
            parcels += self._event(event, life)
        self._album.forget(life)
        return parcels

    def _event(self, event: Event, life: Life) -> list[Parcel]:
        pictures = [_picture(event.id, kind, data) for kind, data in self._album.unsent(life)]
        return [Parcel(ObjectEvent(event=event)), *pictures]

    def _notice(self, notice: Notice, life: Life, at_ms: int) -> Parcel:
        event = ZoneEvent(
            v=MESSAGE_VERSION,
            device=self._stage.device,
            camera=self._stage.camera,
            type=notice.action,
            place=notice.place,
            event=self._book.event_id(life),
            label=self._book.label(life),
            score=round(life.top_score, 4),
            at_ms=at_ms,
            direction=notice.direction,
            dwell_ms=notice.dwell_ms,
            speed_m_s=notice.speed_m_s,
            count=notice.count,
        )
        return Parcel(PlaceNotice(event=event))

    @staticmethod
    def _clips(clips: Iterable[tuple[str, bytes]]) -> list[Parcel]:
        return [_picture(event, PictureKind.CLIP, data) for event, data in clips]


def _picture(event: str, kind: PictureKind, data: bytes) -> Parcel:
    return Parcel(EventPicture(event=event, kind=kind), data)


def _strange_labels(rules: DeskRules) -> str:
    """Say which configured classes the model does not know; they never match."""
    camera, known = rules.camera, set(rules.stage.labels)
    places: list[ZoneConfig | LineConfig] = [*camera.zones, *camera.lines]
    wanted = {label for place in places for label in place.labels}
    strange = sorted((wanted | set(rules.events.labels)) - known)
    return f"the model does not know the classes {', '.join(strange)}" if strange else ""


def _box(seen: Sighting) -> Box:
    corners = [round(side, 2) for side in seen.box]
    return Box(
        label=seen.label,
        score=round(seen.score, 4),
        x_min=corners[0],
        y_min=corners[1],
        x_max=corners[2],
        y_max=corners[3],
        track=seen.track,
    )


def _result(done: Processed, boxes: list[Box], figures: FrameFigures | None) -> FrameResult:
    stages_ms = {"capture": done.frame.capture_ms, "queue": done.queued_ms}
    stages_ms.update(done.detected.stages_ms if done.detected else {})
    now_ns = monotonic_ns()
    stages_ms["publish"] = (now_ns - done.finished_ns) / 1e6
    height, width = done.frame.image.shape[:2]
    details = done.detected.details if done.detected else None
    return FrameResult(
        camera=done.camera,
        frame=done.frame.index,
        captured_ms=done.frame.captured_ms,
        captured_ns=done.frame.captured_ns,
        finished_ns=now_ns,
        width=width,
        height=height,
        boxes=boxes,
        stages_ms={stage: round(spent, 3) for stage, spent in stages_ms.items()},
        error=done.error,
        # Both are best first, so boxes above the threshold are the first of all detected.
        shapes=shapes_of(details, len(boxes)),
        ranking=ranking_of(details),
        figures=figures,
    )
