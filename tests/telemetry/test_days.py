"""What a device keeps of its days, and the month that is told from it; only the clocks are played."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from html.parser import HTMLParser
from pathlib import Path

import pytest
from msgspec.structs import replace

from agent.app.daily import history_of
from agent.app.report_page import Month, report_page
from agent.schema.days import Day
from agent.schema.drift import DriftReport
from agent.schema.messages import Outcome, UpdateReport
from agent.telemetry.days import KEPT_DAYS, Days, date_of, read_days, with_event
from agent.trust.ledger import Ledger
from tests.console.scripted import event, telemetry
from tests.parts.processes import vigil

DAY_S, HOUR_S = 86_400, 3600
FIRST_S = 20_000 * DAY_S  # 2024-10-04, midnight
EVIL = "<script>alert(1)</script>"


@dataclass
class World:
    """A device's days in a folder, with an hour between two measurements."""

    folder: Path
    now_s: float = FIRST_S
    days: Days = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        self.days = Days(
            self.folder, now_ms=lambda: int(self.now_s * 1000), now_ns=lambda: int(self.now_s * 1e9)
        )

    def hours(self, count: int, **changes: object) -> None:
        for _ in range(count):
            self.now_s += HOUR_S
            self.days.measured(telemetry(interval_ms=HOUR_S * 1000, **changes))

    def read(self, count: int = 30) -> tuple[dict[date, Day], list[str]]:
        return read_days(self.folder, date_of(int(self.now_s * 1000)), count)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "days")


class Parsed(HTMLParser):
    """What a page draws and says; `broken` are elements that were not closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.lines: list[list[float]] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "meta":
            self.open.append(tag)
        if tag == "polyline":
            points = dict(attrs)["points"] or ""
            self.lines.append([float(point.split(",")[1]) for point in points.split()])

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_a_day_is_the_mean_of_its_measurements_and_goes_on_after_a_restart(world: World) -> None:
    world.hours(2, fps=10.0, temperature_c=40.0)
    world.days.event(event(1))
    world.days.event(event(1, "update"))
    world.days.save()
    world.now_s += 4 * HOUR_S  # off
    world.start()
    world.hours(1, fps=0.0, temperature_c=70.0)
    world.days.event(event(2))
    world.days.save()
    (day,) = world.read()[0].values()
    assert (day.starts, day.measured_s, day.serving_s) == (2, 3 * HOUR_S, 2 * HOUR_S)
    assert (day.date, day.events) == ("2024-10-04", {"washer": 2})
    assert day.fps is not None
    assert (day.fps.count, day.fps.least, day.fps.most) == (3, 0.0, 10.0)
    assert day.fps.mean == pytest.approx(20 / 3)
    assert day.temperature_c is not None
    assert day.temperature_c.mean == pytest.approx(50.0)
    assert day.stages["infer"].p95.mean == pytest.approx(15.4)


def test_time_in_which_nobody_measured_is_not_counted(world: World) -> None:
    world.hours(1)
    world.now_s += 9 * HOUR_S  # it hung, or the board slept
    world.days.measured(telemetry(interval_ms=HOUR_S * 1000))
    world.days.save()
    (day,) = world.read()[0].values()
    assert day.measured_s == 3 * HOUR_S


def test_a_camera_is_measured_by_the_baseline_of_its_time_of_day(world: World) -> None:
    bright = DriftReport(
        name="belt",
        state="steady",
        period="day",
        judged=3,
        found={"brightness": 120.0},
        usual={"brightness": 100.0},
    )
    dark = replace(bright, found={"brightness": 12.0}, usual={"brightness": 10.0})
    blurred = replace(bright, state="drifted", cause="blur")
    learning = DriftReport(name="belt", state="learning")
    for one in (learning, bright, dark, blurred):
        world.hours(1, drift=[one])
    world.days.save()
    (day,) = world.read()[0].values()
    camera = day.cameras["belt"]
    assert (camera.judged, camera.drifted) == (3, {"blur": 1})
    assert (camera.figures["brightness"].count, camera.figures["brightness"].mean) == (3, 1.2)


def test_a_month_is_told_with_its_gaps_its_drift_and_its_updates(
    world: World, tmp_path: Path
) -> None:
    ledger = Ledger(tmp_path / "commands.db")
    steady = DriftReport(
        name=EVIL, state="steady", judged=1, found={"sharpness": 50.0}, usual={"sharpness": 100.0}
    )
    for number in range(30):
        if number in {10, 11, 12}:  # off for three days, and again for one
            world.now_s += DAY_S
            world.start()
            continue
        drift = replace(steady, state="drifted", cause="blur") if number == 29 else steady
        world.hours(4, drift=[drift])
        world.days.event(event(number))
        world.now_s += 20 * HOUR_S
        report = UpdateReport(
            release="r", path=f"models/a/b/{number}.0/manifest.json", outcome=Outcome.COMMITTED
        )
        if number in {0, 29}:
            at_ms = int(world.now_s * 1000) - HOUR_S * 1000
            ledger.record_once("update", f"{report.path} {report.outcome.value} ", at_ms)
    world.now_s -= HOUR_S
    world.days.save()
    ledger.close()
    (world.folder / "2024-10-05.json").write_text("{")

    kept, unread = world.read()
    assert len(kept) == 26
    (complaint,) = unread
    assert complaint.startswith("2024-10-05.json: ")
    page = report_page(Month(history_of("cam-1", tmp_path, int(world.now_s * 1000), 30), 30))
    parsed = Parsed(page)
    assert parsed.open == []
    text = " ".join(parsed.texts)
    assert "cam-1: 2024-10-04 to 2024-11-02" in text
    for told in (
        "26 of 30",
        "committed 2",
        "models/a/b/29.0/manifest.json committed",
        "blur",
        complaint,
        EVIL,
    ):
        assert told in text, told
    # Both curves of availability go down to the ground on the days without; the axis is 160 high above 170.
    assert [sum(y == 170.0 for y in line) for line in parsed.lines[:2]] == [4, 4]
    # All others are interrupted twice: before and after the second day, and by the three days.
    others = parsed.lines[2:]
    assert len(others) == 3 * 2 * 3 + 3 + 3
    assert [len(line) for line in others[:3]] == [1, 8, 17]
    fetching = ("<script", "<link", "<img", "http://", "https://", "url(")
    assert [word for word in fetching if word in page] == []


def test_what_ran_for_a_minute_is_told_in_minutes(world: World, tmp_path: Path) -> None:
    Ledger(tmp_path / "commands.db").close()
    world.now_s += 60
    world.days.measured(telemetry(interval_ms=60_000))
    world.days.save()
    history = history_of("cam-1", tmp_path, int(world.now_s * 1000), 1)
    assert "1 min, " in " ".join(Parsed(report_page(Month(history, 1))).texts)


def test_days_and_labels_are_bounded(world: World) -> None:
    for _ in range(3):
        world.now_s += DAY_S
        world.hours(1)
    for number in range(KEPT_DAYS):
        (world.folder / f"2020-{number:03}.json").write_text("{}")
    world.days.save()
    names = sorted(path.name for path in world.folder.iterdir())
    assert len(names) == KEPT_DAYS
    assert names[-1] == "2024-10-07.json"
    day = Day(date="2024-10-04")
    for number in range(300):
        day = with_event(day, f"label-{number}")
    assert (len(day.events), day.events["other"]) == (201, 100)


def test_a_damaged_day_is_begun_anew_and_a_disk_that_refuses_stops_nothing(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.hours(1)
    world.days.save()
    (path,) = world.folder.iterdir()
    path.write_bytes(b"\0")
    world.start()
    assert "is begun anew" in caplog.text
    path.unlink()
    world.folder.rmdir()
    world.folder.write_text("in the way")
    world.hours(1)
    assert "is not kept" in caplog.text
    world.folder.unlink()
    world.days.save()
    assert len(world.read()[0]) == 1


def test_a_number_of_days_that_cannot_be_is_a_usage_error() -> None:
    result = vigil("report", "--out", "x.html", "--days", "0")
    assert result.returncode == 2
    assert "--days" in result.stderr
    assert "Traceback" not in result.stderr
