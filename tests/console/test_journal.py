"""The log, the charts' history and the doctor on the page."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import suppress

import httpx
import pytest

from agent.console.journal import LINES, LogMemory
from agent.console.server import Console
from agent.errors import VigilError
from agent.schema.doctor import DOCTOR_SCHEMA, DoctorReport, Finding, Level
from agent.schema.governor import GovernorReport
from tests.console.scripted import Device, telemetry
from tests.parts.processes import until


@pytest.fixture
def logger(console: Console) -> Iterator[logging.Logger]:
    logger = logging.getLogger("agent.somewhere")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(console.log)
    yield logger
    logger.removeHandler(console.log)


def test_no_secret_reaches_the_page(client: httpx.Client, logger: logging.Logger) -> None:
    logger.info("camera door: %s stalled", "rtsp://admin:SECRET@10.0.0.7/stream")
    (line,) = client.get("/api/log").json()["lines"]
    assert "SECRET" not in line["message"]
    assert "10.0.0.7/stream stalled" in line["message"]


def test_lines_come_once_and_by_level(client: httpx.Client, logger: logging.Logger) -> None:
    logger.info("started as %s", "line-3")
    logger.warning("rung moved")
    everything = client.get("/api/log").json()
    assert [line["message"] for line in everything["lines"]] == ["started as line-3", "rung moved"]
    warnings = client.get("/api/log?level=warning").json()["lines"]
    assert [(line["level"], line["source"]) for line in warnings] == [
        ("warning", "agent.somewhere")
    ]
    assert client.get(f"/api/log?after={everything['number']}").json()["lines"] == []
    assert client.get("/api/log?level=loud").status_code == 400


def test_an_error_keeps_its_cause_and_a_broken_message_does_no_harm(
    client: httpx.Client, logger: logging.Logger
) -> None:
    logger.error("failed", exc_info=VigilError("rtsp://u:SECRET@host/ is gone"))
    logger.handlers[0].handle(
        logging.LogRecord("agent.x", logging.INFO, "", 1, "%d", ("no number",), None)
    )
    lines = [line["message"] for line in client.get("/api/log").json()["lines"]]
    assert lines[0].startswith("failed (VigilError: rtsp://…@host/ is gone")
    assert lines[1] == "%d (its values do not fit)"


def test_only_the_newest_lines_are_kept() -> None:
    memory = LogMemory()
    for number in range(LINES + 3):
        memory.handle(logging.LogRecord("a", logging.INFO, "", 1, f"line {number}", None, None))
    number, lines = memory.since(0)
    assert (number, len(lines), lines[0].message) == (LINES + 3, LINES, "line 3")
    assert memory.since(LINES + 1)[1][0].message == f"line {LINES + 1}"
    assert len(memory.since(10**6)[1]) == LINES


def test_measurements_become_points_of_the_charts(console: Console, client: httpx.Client) -> None:
    governor = GovernorReport(rung="full", index=1, rungs=3)
    console.measured(telemetry(at_ms=5, governor=governor))
    found = client.get("/api/history").json()
    (point,) = found["points"]
    assert point["stages"]["infer"] == [11.0, pytest.approx(15.4)]
    assert (point["rung"], point["rungs"], point["temperature_c"]) == (1, 3, 61.5)
    assert client.get(f"/api/history?after={found['number']}").json()["points"] == []


REPORT = DoctorReport(
    schema=DOCTOR_SCHEMA,
    device="line-3",
    agent="1",
    at_ms=1,
    verdict=Level.WARNING,
    findings=[Finding(check="disk", level=Level.WARNING, code="disk.full", what="97 % used")],
)


def test_the_doctor_is_asked_once_for_many(device: Device) -> None:
    asked: list[int] = []

    def doctor() -> DoctorReport:
        asked.append(1)
        return REPORT

    device.doctor = doctor
    console = device.console()
    console.start()
    for _ in range(3):
        found = httpx.get(f"{console.url}api/doctor").json()
    console.stop()
    assert found["findings"][0]["what"] == "97 % used"
    assert len(asked) == 1


def test_a_doctor_who_fails_or_is_not_there_says_so(device: Device, client: httpx.Client) -> None:
    assert client.get("/api/doctor").status_code == 404

    def doctor() -> DoctorReport:
        raise VigilError("the doctor took too long", code="doctor.failed")

    device.doctor = doctor
    console = device.console()
    console.start()
    answer = httpx.get(f"{console.url}api/doctor")
    console.stop()
    assert (answer.status_code, answer.json()["code"]) == (503, "doctor.failed")


def test_stopping_does_not_wait_for_a_doctor_who_takes_minutes(device: Device) -> None:
    called, release = threading.Event(), threading.Event()

    def doctor() -> DoctorReport:
        called.set()
        release.wait(60)
        return REPORT

    device.doctor = doctor
    console = device.console()
    console.start()
    asking = threading.Thread(target=_ask, args=(console.url,), daemon=True)
    asking.start()
    assert called.wait(60)
    console.stop()
    until(lambda: "console" not in {one.name for one in threading.enumerate()}, 30, "it ended")
    release.set()


def _ask(url: str) -> None:
    with suppress(httpx.HTTPError):
        httpx.get(f"{url}api/doctor", timeout=30)
