"""Events of a whole device: at zones and lines, with pictures, and each `new` with one `end` whatever happens."""

import os
import signal
from collections import Counter
from typing import Any

from agent.demo.releases import VIDEO
from agent.events.store import EventStore
from agent.schema.avi import read_avi
from agent.schema.document import to_json
from agent.schema.events import Event, PlaceAction, ZoneEvent
from agent.schema.messages import Telemetry
from agent.schema.recording import StoreConfig
from tests.parts.processes import until
from tests.parts.site import Device, Site

BELT: dict[str, Any] = {
    "name": "belt",
    "source": str(VIDEO),
    "zones": [
        {"name": "middle", "polygon": [[0.3, 0], [0.7, 0], [0.7, 1], [0.3, 1]], "anchor": "center"}
    ],
    # Who looks from the lower end to the upper has the belt's end on the right: forward.
    "lines": [
        {"name": "in", "start": [0.4, 1], "end": [0.4, 0], "anchor": "center"},
        {"name": "out", "start": [0.6, 1], "end": [0.6, 0], "anchor": "center"},
    ],
    "speeds": [{"name": "belt-speed", "first": "in", "second": "out", "distance_m": 0.5}],
}
PASSED = {("middle", "enter"), ("middle", "leave"), ("in", "cross"), ("out", "cross")}
CLIPS = {"clips": {"enabled": True, "pre_s": 0.5, "post_s": 0.5, "max_s": 2.0}}


def watched(site: Site, name: str) -> Device:
    return site.serving(
        name, cameras=[BELT], events=CLIPS, telemetry={"interval_s": 0.5, "detections": False}
    )


def ends(site: Site, device: Device, since_s: float = 0.0) -> list[Event]:
    return [one for one in site.messages(device, Event, since_s) if one.type == "end"]


def open_events(site: Site, device: Device) -> set[str]:
    counts: dict[str, str] = {one.id: one.type for one in site.messages(device, Event)}
    return {event for event, kind in counts.items() if kind != "end"}


def test_a_belt_is_counted_timed_and_pictured(site: Site) -> None:
    device = watched(site, "counted")

    def speeds() -> list[ZoneEvent]:
        heard = site.messages(device, ZoneEvent)
        return [one for one in heard if one.type is PlaceAction.SPEED]

    def kinds() -> set[tuple[str, str]]:
        return {(one.place, one.type.value) for one in site.messages(device, ZoneEvent)}

    def known() -> set[str]:
        return {one.id for one in site.messages(device, Event)}

    until(lambda: len(speeds()) >= 2, 40, "parts are timed between two lines")
    until(lambda: kinds() >= PASSED, 30, "one is seen at every place")
    zone_events = site.messages(device, ZoneEvent)
    assert {one.direction for one in zone_events if one.type is PlaceAction.CROSS} == {"forward"}
    assert all((one.speed_m_s or 0) > 0 for one in speeds())
    until(lambda: {one.event for one in zone_events} <= known(), 30, "each is of a known event")
    until(lambda: any(one.entered_zones for one in ends(site, device)), 30, "one is gone again")

    def reported() -> bool:
        reports = site.messages(device, Telemetry)[-1].cameras
        return bool(reports and reports[0].zones and reports[0].lines[0].forward)

    until(reported, 30, "telemetry tells occupancy and counts")
    until(lambda: list((device.folder / "state/events").rglob("*.avi")), 30, "a clip is kept")
    device.stop()
    check_pictures(device)


def check_pictures(device: Device) -> None:
    """What was promised is in the store: pictures that are pictures, clips that hold frames."""
    store = EventStore(device.folder / "state" / "events", StoreConfig())
    records = store.recent(100)
    assert records
    assert all(one.event.type == "end" for one in records)
    clips = [record.event.id for record in records if record.has_clip]
    assert clips
    film = read_avi(store.clip(clips[0]) or b"")
    assert (film.width, film.height, len(film.frames) > 1) == (640, 360, True)
    for record in records:
        assert record.has_snapshot == record.event.has_snapshot == record.has_thumbnail
        assert (store.snapshot(record.event.id) or b"")[:2] == b"\xff\xd8"


def test_a_new_model_ends_what_the_old_one_left_open_and_begins_anew(site: Site) -> None:
    device = watched(site, "swapped")
    until(lambda: open_events(site, device), 30, "something is on the belt")
    reply = site.install(device, site.release("2.0.0"))
    assert reply.status.value == "succeeded", reply

    def of_the_old() -> set[str]:
        ids = {one.id for one in site.messages(device, Event) if one.release.endswith("/1.0.0")}
        return ids & open_events(site, device)

    until(lambda: not of_the_old(), 30, "the old model's events end")
    new = "/2.0.0"
    until(
        lambda: any(one.release.endswith(new) for one in site.messages(device, Event)),
        30,
        "the new model's events begin",
    )


def test_every_new_has_one_end_through_worker_death_and_agent_death(site: Site) -> None:
    device = watched(site, "interrupted")
    until(lambda: open_events(site, device), 30, "something is on the belt")
    left_by_worker = open_events(site, device)
    os.kill(device.status.worker_pid, signal.SIGKILL)
    until(lambda: not left_by_worker & open_events(site, device), 30, "what it left open ends")
    until(lambda: open_events(site, device), 30, "something is on the belt again")
    left_by_agent = open_events(site, device)
    device.kill()
    device.start()
    until(lambda: not left_by_agent & open_events(site, device), 30, "the next life ends it")
    device.stop()
    until(lambda: not open_events(site, device), 30, "a stop ends what is open")
    # A killed agent may say again, word for word, what it does not know to have arrived.
    said = {to_json(one): one for one in site.messages(device, Event)}.values()
    counts = Counter((one.id, one.type) for one in said)
    news = {event for event, kind in counts if kind == "new"}
    assert news == {event for event, kind in counts if kind == "end"}
    assert all(count == 1 for (_, kind), count in counts.items() if kind in {"new", "end"})
