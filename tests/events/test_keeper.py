"""Every `new` has one `end`, whatever becomes of the worker."""

from dataclasses import dataclass, field

import pytest

from agent.events.keeper import EventKeeper
from agent.events.store import EventStore
from agent.schema.events import Event, PictureKind, PlaceAction, ZoneEvent
from tests.events.conftest import MakeStore, event


@dataclass
class Heard:
    """What went out."""

    events: list[Event] = field(default_factory=list)
    zones: list[ZoneEvent] = field(default_factory=list)

    @property
    def types(self) -> list[tuple[str, str]]:
        return [(one.id.rpartition("-")[2], one.type) for one in self.events]


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def store(make_store: MakeStore) -> EventStore:
    return make_store()


@pytest.fixture
def keeper(store: EventStore, heard: Heard) -> EventKeeper:
    return EventKeeper(store, heard.events.append, heard.zones.append)


def zone_event(number: int, action: PlaceAction) -> ZoneEvent:
    return ZoneEvent(
        v=1, device="d1", camera="door", type=action, place="porch", event=f"boot-door-{number}",
        label="person", score=0.8, at_ms=5,
    )  # fmt: skip


def test_what_a_worker_says_goes_out(keeper: EventKeeper, heard: Heard, store: EventStore) -> None:
    for kind in ("new", "update", "end"):
        keeper.event(event(1, kind), 7)
    store.flush()
    assert heard.types == [("1", "new"), ("1", "update"), ("1", "end")]
    (record,) = store.recent()
    assert record.event.type == "end"


def test_a_dead_workers_events_end_and_leave_their_zones(keeper: EventKeeper, heard: Heard) -> None:
    keeper.event(event(1, current_zones=["porch"]), 7)
    keeper.event(event(2, current_zones=["porch"]), 8)
    keeper.gone(7)
    assert heard.types == [("1", "new"), ("2", "new"), ("1", "end")]
    assert (heard.events[-1].end_ms, heard.events[-1].before is not None) == (1500, True)
    (leave,) = heard.zones
    assert (leave.type, leave.place, leave.count) == (PlaceAction.LEAVE, "porch", 1)
    keeper.gone(7)
    keeper.event(event(1, "end"), 7)
    assert heard.types[3:] == []


def test_an_update_that_nobody_announced_is_its_new(keeper: EventKeeper, heard: Heard) -> None:
    keeper.event(event(1, "update"), 7)
    keeper.event(event(2, "end"), 7)
    assert heard.types == [("1", "new")]


def test_what_the_last_life_left_open_ends_in_the_next(make_store: MakeStore, heard: Heard) -> None:
    first = make_store()
    keeper = EventKeeper(first, lambda _: None, lambda _: None)
    for begun in (event(1), event(2)):
        keeper.event(begun, 7)
    keeper.event(event(2, "update"), 7)
    first.flush()
    second = make_store()
    EventKeeper(second, heard.events.append, heard.zones.append).resume()
    second.flush()
    assert heard.types == [("1", "new"), ("1", "end"), ("2", "end")]
    assert heard.events[0] == event(1), "whether it arrived is not known: told again, word for word"
    assert second.open_events() == []


def test_pictures_of_known_events_are_kept_also_after_the_end(
    keeper: EventKeeper, store: EventStore
) -> None:
    keeper.event(event(1), 7)
    keeper.event(event(1, "end"), 7)
    keeper.picture("boot-door-1", PictureKind.CLIP, b"clip")
    keeper.picture("boot-door-9", PictureKind.CLIP, b"from nowhere")
    store.flush()
    assert store.clip("boot-door-1") == b"clip"
    assert store.report().bytes == 4


def test_no_picture_is_promised_while_none_can_be_kept(make_store: MakeStore, heard: Heard) -> None:
    store = make_store(min_free_mb=2**40)
    keeper = EventKeeper(store, heard.events.append, heard.zones.append)
    keeper.event(event(1), 7)
    keeper.picture("boot-door-1", PictureKind.SNAPSHOT, b"picture")
    store.flush()
    keeper.event(event(1, "update"), 7)
    promised = [(one.has_snapshot, one.has_clip) for one in heard.events]
    assert promised == [(True, True), (False, False)]


def test_nobody_leaves_who_was_never_announced(keeper: EventKeeper, heard: Heard) -> None:
    keeper.zone(zone_event(1, PlaceAction.ENTER))
    keeper.zone(zone_event(1, PlaceAction.LEAVE))
    keeper.event(event(1), 7)
    keeper.zone(zone_event(1, PlaceAction.LEAVE))
    assert [one.type for one in heard.zones] == [PlaceAction.ENTER, PlaceAction.LEAVE]
