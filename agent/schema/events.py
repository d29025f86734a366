"""Objects and places as messages: what appeared, moved, left, entered and crossed.

The shape follows what users of Frigate know (`type`, `before`, zones, `has_snapshot`…); what stands in its
`after` stands here at the top. `docs/events.md` has the table.
"""

from __future__ import annotations

import enum
from typing import Annotated

import msgspec

from agent.schema.values import Counter, Identifier, Struct, UnixMs

EventId = Annotated[str, msgspec.Meta(pattern=r"^[0-9A-Za-z._-]{1,120}$(?!\n)")]
Corners = tuple[float, float, float, float]
MAX_PICTURE_BYTES = 4 * 2**20
MAX_CLIP_BYTES = 16 * 2**20


class Before(Struct):
    """An object as its last event told it."""

    at_ms: UnixMs
    score: float
    top_score: float
    box: Corners
    current_zones: list[str] = []
    entered_zones: list[str] = []
    stationary: bool = False


class SnapshotFacts(Struct):
    """The moment of an object's best picture: box and size in the camera's pixels."""

    at_ms: UnixMs
    score: float
    box: Corners


class Event(Struct):
    """Life of one object on one camera: `new`, `update`, `end`, with the same `id`, at `…/event/<camera>`.

    Attributes:
        box: (x_min, y_min, x_max, y_max) in pixels of a picture of `width` x `height`.
        before: The object as the event before this one told it; null in `new`.
        current_zones: Zones it is in now; `entered_zones`: all that it was in, in order.
        stationary: Whether it has stayed in one place; `position_changes` counts how often it moved on.
        speed_m_s: Its last speed between two lines, metres a second.
        has_snapshot: Whether this device keeps a picture of it; `has_clip`: keeps, or will shortly, a clip.
    """

    v: int
    device: Identifier
    camera: Identifier
    id: EventId
    type: str
    label: str
    score: float
    top_score: float
    box: Corners
    start_ms: UnixMs
    at_ms: UnixMs
    end_ms: UnixMs | None = None
    release: str = ""
    width: Counter = 0
    height: Counter = 0
    area: float = 0.0
    current_zones: list[str] = []
    entered_zones: list[str] = []
    stationary: bool = False
    position_changes: Counter = 0
    speed_m_s: float | None = None
    has_snapshot: bool = False
    has_clip: bool = False
    snapshot: SnapshotFacts | None = None
    before: Before | None = None


class PlaceAction(str, enum.Enum):
    """What an object did at a place."""

    ENTER = "enter"
    LEAVE = "leave"
    LOITER = "loiter"
    CROSS = "cross"
    SPEED = "speed"


class ZoneEvent(Struct):
    """An object did something at a zone, a line or between two lines, at `…/zone/<camera>`.

    Attributes:
        place: Name of the zone, line or speed.
        event: Id of the object's `Event`.
        direction: `forward` or `backward` (`cross`, `speed`); empty otherwise.
        dwell_ms: How long it has been inside (`leave`, `loiter`).
        speed_m_s: Metres a second (`speed`).
        count: Objects inside now (`enter`, `leave`, `loiter`), or crossings in this direction (`cross`, `speed`).
    """

    v: int
    device: Identifier
    camera: Identifier
    type: PlaceAction
    place: Identifier
    event: EventId
    label: str
    score: float
    at_ms: UnixMs
    direction: str = ""
    dwell_ms: int | None = None
    speed_m_s: float | None = None
    count: Counter = 0


class ZoneReport(Struct):
    """Who is in a zone now: objects by class, and all that entered since the camera's worker started."""

    name: Identifier
    occupancy: dict[str, int]
    entered: Counter


class LineReport(Struct):
    """Crossings of a line in both directions since the camera's worker started."""

    name: Identifier
    forward: Counter
    backward: Counter


class PictureKind(str, enum.Enum):
    """What is kept of an event."""

    SNAPSHOT = "snapshot"
    THUMBNAIL = "thumbnail"
    CLIP = "clip"


class EventRecord(Struct):
    """An event as the device's own store has it: its newest message, and what is really kept of it."""

    event: Event
    has_snapshot: bool
    has_thumbnail: bool
    has_clip: bool


class StoreReport(Struct):
    """How full the event store is; `problem` says why pictures are not kept, `lost` how many were not."""

    events: Counter
    bytes: Counter
    lost: Counter = 0
    problem: str = ""
