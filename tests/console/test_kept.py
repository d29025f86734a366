"""Kept events over the page's addresses, from a real event store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from msgspec.structs import replace

from agent.console import kept
from agent.events.store import EventStore
from agent.schema.events import PictureKind
from agent.schema.recording import StoreConfig
from tests.console.scripted import Device, event, jpeg

CLASSES = ("washer", "bolt")


@pytest.fixture
def store(tmp_path: Path) -> EventStore:
    """Twenty washers and bolts in turn; every fifth was in the zone `gate` and has pictures."""
    kept_here = EventStore(tmp_path / "events", StoreConfig(min_free_mb=0))
    for number in range(20):
        zones = ["gate"] if number % 5 == 0 else []
        one = replace(event(number, "end"), label=CLASSES[number % 2], entered_zones=zones)
        kept_here.put_event(one)
        if zones:
            kept_here.put_picture(one.id, PictureKind.SNAPSHOT, jpeg(50))
            kept_here.put_picture(one.id, PictureKind.THUMBNAIL, jpeg(60))
            kept_here.put_picture(one.id, PictureKind.CLIP, b"RIFF clip")
    kept_here.flush()
    return kept_here


@pytest.fixture
def reader(device: Device, store: EventStore) -> Iterator[httpx.Client]:
    device.archive = store
    running = device.console()
    running.start()
    with httpx.Client(base_url=running.url, timeout=60) as http:
        yield http
    running.stop()


def ids(reader: httpx.Client, **asked: str | int) -> list[str]:
    answer = reader.get("/api/kept-events", params=asked).json()
    return [record["event"]["id"] for record in answer["records"]]


def test_the_newest_come_first_page_by_page(reader: httpx.Client) -> None:
    first = reader.get("/api/kept-events?limit=8").json()
    assert [record["event"]["id"] for record in first["records"]] == [
        f"belt-{number}" for number in range(19, 11, -1)
    ]
    assert first["more"] is True
    oldest_ms = first["records"][-1]["event"]["start_ms"]
    assert ids(reader, limit=8, before_ms=oldest_ms)[0] == "belt-11"
    assert reader.get("/api/kept-events?limit=20").json()["more"] is False


def test_filters_narrow_and_combine(reader: httpx.Client) -> None:
    assert ids(reader, zone="gate") == ["belt-15", "belt-10", "belt-5", "belt-0"]
    assert ids(reader, zone="gate", label="bolt") == ["belt-15", "belt-5"]
    assert ids(reader, pictured=1, limit=2) == ["belt-15", "belt-10"]
    assert ids(reader, camera="door") == []
    assert ids(reader, since_ms=1_700_000_000_000 + 17) == ["belt-19", "belt-18", "belt-17"]


def test_filters_look_past_one_batch_but_not_through_everything(
    reader: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "_BATCH", 2)
    assert ids(reader, zone="gate") == ["belt-15", "belt-10", "belt-5", "belt-0"]
    monkeypatch.setattr(kept, "MAX_READ", 4)
    assert ids(reader, zone="gate") == []


def test_an_event_comes_with_its_pictures_and_clip(reader: httpx.Client) -> None:
    record = reader.get("/api/kept-events/belt-5").json()
    assert (record["event"]["label"], record["has_clip"]) == ("bolt", True)
    snapshot = reader.get("/event/belt-5/snapshot.jpg")
    assert (snapshot.headers["content-type"], snapshot.content) == ("image/jpeg", jpeg(50))
    assert reader.get("/event/belt-5/thumbnail.jpg").content == jpeg(60)
    assert reader.get("/event/belt-5/clip.avi").content == b"RIFF clip"


@pytest.mark.parametrize(
    "path",
    [
        "/api/kept-events/belt-999",
        "/event/belt-1/snapshot.jpg",
        "/event/belt-5/masked.jpg",
        "/event/..%2f..%2fevents.db/snapshot.jpg",
        "/event/%27%20OR%201=1--/snapshot.jpg",
    ],
)
def test_what_is_not_kept_is_not_found(reader: httpx.Client, path: str) -> None:
    assert reader.get(path).status_code == 404


@pytest.mark.parametrize("asked", ["limit=x", "before_ms=-1", "since_ms=1e9"])
def test_a_number_that_is_none_is_refused(reader: httpx.Client, asked: str) -> None:
    assert reader.get(f"/api/kept-events?{asked}").status_code == 400


def test_a_device_that_keeps_nothing_says_so(client: httpx.Client) -> None:
    assert client.get("/api/kept-events").json() == {"records": [], "more": False}
    assert client.get("/event/belt-5/clip.avi").status_code == 404
