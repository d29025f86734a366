"""What the console answers, asked over a real connection."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from agent.console import live
from agent.console.server import REMEMBERED_EVENTS, Console
from agent.schema.messages import Outcome, UpdateReport
from agent.schema.metrics import INFO, METRICS
from tests.console.scripted import Device, event
from tests.parts.processes import until
from tests.parts.snapshots import FULL

ADDRESSES = (
    "/login",
    "/logout",
    "/api/status",
    "/api/events",
    "/api/kept-events",
    "/api/history",
    "/api/log",
    "/api/doctor",
    "/api/places",
    "/event/",
    "/stream/",
    "/frame/",
    "/metrics",
    "/healthz",
)
ROOT = Path(__file__).parents[2]


def events_of(stream: httpx.Response) -> Iterator[tuple[str, Any]]:
    kind = ""
    for line in stream.iter_lines():
        name, _, value = line.partition(": ")
        if name == "event":
            kind = value
        elif name == "data":
            yield kind, json.loads(value)


def test_the_page_and_its_files_are_served_with_their_types(client: httpx.Client) -> None:
    types = {
        path: client.get(path).headers["content-type"] for path in ("/", "/app.js", "/icon.svg")
    }
    assert types == {
        "/": "text/html; charset=utf-8",
        "/app.js": "text/javascript; charset=utf-8",
        "/icon.svg": "image/svg+xml",
    }
    assert b"<h1" in client.get("/").content


def test_every_file_that_the_page_asks_for_is_there(client: httpx.Client) -> None:
    asked = {"/", "/login"}
    while asked:
        text = client.get(asked.pop()).text
        for path in set(re.findall(r"""(?:href|src|from)[= ]"(/[\w.-]+)\"""", text)):
            assert client.get(path).status_code in (200, 303), path


def test_an_unchanged_file_is_not_sent_again(client: httpx.Client) -> None:
    tag = client.get("/app.js").headers["etag"]
    again = client.get("/app.js", headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")


def test_status_shows_state_telemetry_cameras_and_how_updates_ended(
    console: Console, client: httpx.Client
) -> None:
    console.updates.add(UpdateReport(release="parts 1.1.0", path="p", outcome=Outcome.COMMITTED))
    console.updates.add(
        UpdateReport(release="parts 1.3.0", path="p", outcome=Outcome.REFUSED, reason="rollback")
    )
    status = client.get("/api/status").json()
    assert status["cameras"] == ["belt", "door"]
    assert status["healthy"] is True
    assert status["snapshot"]["state"]["release"] == "conveyor/parts/1.2.0"
    assert status["snapshot"]["telemetry"]["stages"]["infer"]["p50"] == 11.0
    assert status["snapshot"]["cameras"][1]["status"] == "opening"
    assert [update["reason"] for update in status["updates"]] == ["rollback", ""]


def test_events_are_given_once_and_only_the_newest_are_remembered(
    console: Console, client: httpx.Client
) -> None:
    for number in range(REMEMBERED_EVENTS + 5):
        console.events.add(event(number))
    first = client.get("/api/events").json()
    assert len(first["events"]) == REMEMBERED_EVENTS
    assert first["events"][0]["id"] == "belt-5"
    assert client.get(f"/api/events?after={first['number']}").json()["events"] == []
    console.events.add(event(999, "end"))
    assert [
        e["id"] for e in client.get(f"/api/events?after={first['number']}").json()["events"]
    ] == ["belt-999"]


def test_a_reader_that_outlived_the_agent_gets_everything(
    console: Console, client: httpx.Client
) -> None:
    console.events.add(event(1))
    assert len(client.get("/api/events?after=5000").json()["events"]) == 1


@pytest.mark.parametrize("after", ["-1", "x", "1.5", "9" * 40, "٣"])
def test_a_strange_event_number_is_refused(client: httpx.Client, after: str) -> None:
    assert client.get("/api/events", params={"after": after}).status_code == 400


def test_a_frame_is_the_cameras_own_jpeg(client: httpx.Client, device: Device) -> None:
    answer = client.get("/frame/belt.jpg")
    assert (answer.headers["content-type"], answer.content) == ("image/jpeg", device.picture)


def test_a_camera_without_a_picture_says_why(client: httpx.Client) -> None:
    answer = client.get("/frame/door.jpg")
    assert answer.status_code == 503
    assert answer.json() == {"code": "camera.opening", "message": "camera door: no frame yet"}


@pytest.mark.parametrize("path", ["/frame/garage.jpg", "/stream/garage", "/stream/belt,garage"])
def test_an_unknown_camera_is_not_found(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 404


def test_a_stream_shows_pictures_with_their_boxes_and_the_reason_where_there_are_none(
    client: httpx.Client,
) -> None:
    with client.stream("GET", "/stream/belt,door") as stream:
        found = [one for _, one in zip(range(4), events_of(stream), strict=False)]
    frames = [data for kind, data in found if kind == "frame"]
    assert frames[0]["boxes"][0] == [0, 0.93, 40.0, 60.0, 180.0, 150.0, 7]
    assert (frames[0]["width"], frames[0]["height"]) == (640, 360)
    assert frames[1]["frame"] > frames[0]["frame"]
    problems = [data for kind, data in found if kind == "problem"]
    assert problems == [
        {"camera": "door", "code": "camera.opening", "message": "camera door: no frame yet"}
    ]


def test_nobody_watching_costs_no_grab(client: httpx.Client, device: Device) -> None:
    for path in ("/", "/api/status", "/healthz", "/metrics"):
        client.get(path)
    client.head("/stream/belt")
    assert device.grabs == {}


def test_many_viewers_share_one_grab_per_interval(
    client: httpx.Client, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    def watch(_: int) -> list[int]:
        with client.stream("GET", "/stream/belt") as stream:
            return [
                data["frame"] for (_, data), _ in zip(events_of(stream), range(3), strict=False)
            ]

    began_s = time.monotonic()
    with ThreadPoolExecutor(6) as viewers:
        seen = list(viewers.map(watch, range(6)))
    assert all(len(frames) == 3 for frames in seen)
    grabs = device.grabs["belt"]
    assert grabs <= 1 + (time.monotonic() - began_s) / live.FRAME_INTERVAL_S


def test_one_viewer_too_many_is_refused_and_a_place_becomes_free_again(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "MAX_VIEWERS", 1)
    with client.stream("GET", "/stream/belt") as stream:
        watching = events_of(stream)
        next(watching)
        refused = client.get("/stream/belt")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")

    def is_free() -> bool:
        with client.stream("GET", "/stream/belt") as stream:
            return stream.status_code == 200

    until(is_free, 30, "the place of a viewer that left is free")


def test_stopping_ends_live_views(console: Console, client: httpx.Client) -> None:
    with client.stream("GET", "/stream/belt") as stream:
        events = events_of(stream)
        next(events)
        console.stop()
        list(events)
    with pytest.raises(httpx.ConnectError):
        client.get("/healthz")


@pytest.mark.parametrize(
    ("age_s", "status", "answer"),
    [
        (0.4, 200, {"status": "ok"}),
        (30.0, 503, {"status": "degraded", "reasons": ["worker.silent"]}),
        (None, 503, {"status": "degraded", "reasons": ["worker.none"]}),
    ],
)
def test_health_is_whether_the_worker_is_heard(
    client: httpx.Client,
    device: Device,
    age_s: float | None,
    status: int,
    answer: dict[str, object],
) -> None:
    device.heartbeat_age_s = age_s
    health = client.get("/healthz")
    assert (health.status_code, health.json()) == (status, answer)


def samples(text: str) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_are_what_prometheus_reads(client: httpx.Client, device: Device) -> None:
    device.telemetry, device.cameras, device.state = FULL.telemetry, FULL.cameras, FULL.state
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    found = samples(answer.text)
    assert {name for name, *_ in found} == {one.name for one in (INFO, *METRICS)}
    assert found["vigil_stage_seconds", "p50", "infer"] == pytest.approx(0.011)
    assert found["vigil_camera_frames_total", "belt", "dropped"] == 10
    assert found["vigil_console_viewers",] == 0


def test_metrics_leave_out_what_is_not_known(client: httpx.Client, device: Device) -> None:
    device.telemetry, device.heartbeat_age_s = None, None
    found = samples(client.get("/metrics").text)
    assert ("vigil_fps",) not in found
    assert ("vigil_worker_heartbeat_age_seconds",) not in found


def test_every_address_is_documented() -> None:
    document = (ROOT / "docs" / "console.md").read_text()
    for address in ADDRESSES:
        assert f"`{address}" in document, address
