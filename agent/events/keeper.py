"""Which events are open, so that every `new` has exactly one `end`: through worker deaths, swaps and restarts.

Rules
- An `update` of an event that nobody announced (its `new` fell into a swap) becomes its `new`.
- When a worker is gone, what it left open ends, and leaves its zones.
- What a life of the agent left open ends when the next one starts.
- `has_snapshot` and `has_clip` go out true only while pictures can be kept here.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from agent.host.clock import wall_ms
from agent.schema.events import Before, Event, PictureKind, PlaceAction, ZoneEvent

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.events.store import EventStore

# Events that ended lately: their last pictures come after them.
_REMEMBERED = 256


class _Open(NamedTuple):
    event: Event
    worker: int


class EventKeeper:
    """Passes events on; all methods from any thread.

    Args:
        store: Keeps events and pictures.
        on_event: Told every event that goes out.
        on_zone: Told every zone event that goes out.
    """

    def __init__(
        self,
        store: EventStore,
        on_event: Callable[[Event], None],
        on_zone: Callable[[ZoneEvent], None],
    ) -> None:
        self._store = store
        self._on_event = on_event
        self._on_zone = on_zone
        self._open: OrderedDict[str, _Open] = OrderedDict()
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.RLock()

    def resume(self) -> None:
        """End what the previous life of the agent left open; what had just begun is told again, word for word, first."""
        for event in [record.event for record in self._store.open_events()]:
            if event.type == "new":
                self._pass_on(event)
            self._pass_on(_ended(event))

    def event(self, event: Event, worker: int) -> None:
        """Take an event of a worker (its process id)."""
        with self._lock:
            known = self._open.pop(event.id, None)
            if event.type == "end":
                if known is None:
                    return
                self._remember(event.id)
            else:
                self._open[event.id] = _Open(event, worker)
                if known is None:
                    event = replace(event, type="new", before=None)
            self._pass_on(event)

    def zone(self, event: ZoneEvent) -> None:
        """Take what an object did at a place; nobody leaves who was never announced."""
        with self._lock:
            known = event.event in self._open
            if known or event.type is not PlaceAction.LEAVE:
                self._on_zone(event)

    def picture(self, event: str, kind: PictureKind, data: bytes) -> None:
        """Take a picture; of an event that nobody knows it is dropped."""
        with self._lock:
            if event in self._open or event in self._ended:
                self._store.put_picture(event, kind, data)

    def gone(self, worker: int) -> None:
        """A worker has ended: so does all that it left open."""
        with self._lock:
            left = [one.event for one in self._open.values() if one.worker == worker]
            for event in left:
                del self._open[event.id]
                self._remember(event.id)
                for zone in event.current_zones:
                    self._on_zone(self._leaving(event, zone))
                self._pass_on(_ended(event))

    def _remember(self, event: str) -> None:
        self._ended[event] = None
        if len(self._ended) > _REMEMBERED:
            self._ended.popitem(last=False)

    def _leaving(self, event: Event, zone: str) -> ZoneEvent:
        others = (one.event for one in self._open.values())
        still = [one for one in others if one.camera == event.camera and zone in one.current_zones]
        return ZoneEvent(
            v=event.v,
            device=event.device,
            camera=event.camera,
            type=PlaceAction.LEAVE,
            place=zone,
            event=event.id,
            label=event.label,
            score=event.top_score,
            at_ms=wall_ms(),
            count=len(still),
        )

    def _pass_on(self, event: Event) -> None:
        keeps = self._store.keeps_pictures
        event = replace(
            event,
            has_snapshot=event.has_snapshot and keeps,
            has_clip=event.has_clip and keeps,
        )
        self._store.put_event(event)
        self._on_event(event)


def _ended(event: Event) -> Event:
    """Return the end of an event that nobody can ask any more: it was last seen when it was last told of."""
    before = Before(
        at_ms=event.at_ms,
        score=event.score,
        top_score=event.top_score,
        box=event.box,
        current_zones=event.current_zones,
        entered_zones=event.entered_zones,
        stationary=event.stationary,
    )
    return replace(event, type="end", at_ms=wall_ms(), end_ms=event.at_ms, before=before)
