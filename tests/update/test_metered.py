"""Links that cost money: what holds a transfer, what counts, and that it goes on where it was."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from agent.host.disk import REAL_DISK
from agent.schema.messages import Phase, Progress
from agent.schema.update_config import MeteredConfig
from agent.update.metered import MEGABYTE, STEP_BYTES, Meter, pause
from agent.update.ports import Offer
from tests.parts.power_cut_disk import PowerCutDisk, PowerCutError
from tests.parts.processes import until
from tests.parts.signed_repository import BLOCK, SignedRepository, make_release
from tests.parts.update_device import RecordedReplier, UpdateDevice

NIGHT = MeteredConfig(hours=["22:00-06:00", "12:30-13:00"])
NOON = datetime(2026, 11, 24, 12, 0, tzinfo=timezone.utc)
SIZE = 2_000_000
BIG = make_release(2, size=SIZE)


def at(clock: str) -> datetime:
    hour, minute, second = map(int, clock.split(":"))
    return NOON.replace(hour=hour, minute=minute, second=second)


@pytest.mark.parametrize(
    ("clock", "seconds"),
    [
        ("22:00:00", None),
        ("23:59:59", None),
        ("00:00:00", None),
        ("05:59:59", None),
        ("06:00:00", 6.5 * 3600),
        ("12:29:50", 10),
        ("12:59:59", None),
        ("13:00:00", 9 * 3600),
        ("21:59:30", 30),
    ],
)
def test_hours_of_the_day_hold_a_transfer(clock: str, seconds: float | None) -> None:
    held = pause(NIGHT, 0, at(clock))
    assert (held and held.seconds) == seconds
    if held:
        assert held.reason.startswith("waiting for the window, opens at ")


def test_a_budget_holds_a_transfer_until_midnight() -> None:
    policy = MeteredConfig(daily_mb=1.5)
    assert pause(policy, 1_499_999, at("23:00:00")) is None
    held = pause(policy, 1_500_000, at("23:00:00"))
    assert held
    assert held.seconds == 3600
    assert held.reason == "waiting for the budget, 1.5 MB of today are used"


def test_without_limits_nothing_holds_and_nothing_is_written(tmp_path: Path) -> None:
    meter = Meter(MeteredConfig(), tmp_path / "metered.json")
    meter.spend(10**9)
    assert meter.pause is None
    assert list(tmp_path.iterdir()) == []


class Calendar:
    """Local time as the test wants it: a day later each time that `patient` says that it waits."""

    def __init__(self) -> None:
        self.now = NOON
        self.patient: UpdateDevice | None = None

    def __call__(self) -> datetime:
        return self.now + timedelta(days=len(waits_of(self.patient)) if self.patient else 0)


def waits_of(device: UpdateDevice) -> list[Progress]:
    return [one for one in device.progress if one.waiting]


def meter_of(folder: Path, calendar: Calendar, daily_mb: float = 1.0) -> Meter:
    return Meter(MeteredConfig(daily_mb=daily_mb), folder / "metered.json", REAL_DISK, calendar)


def test_no_restart_buys_a_byte_more(tmp_path: Path) -> None:
    calendar, spent = Calendar(), 0
    while (meter := meter_of(tmp_path, calendar)).pause is None:
        meter.spend(70_000)
        spent += 70_000
        assert spent < 2 * MEGABYTE
    assert spent <= MEGABYTE
    calendar.now += timedelta(days=1)
    assert meter.pause is None


def test_a_power_cut_forgets_no_byte(tmp_path: Path) -> None:
    for cut in range(12):
        disk, calendar = PowerCutDisk(tmp_path / str(cut)), Calendar()
        policy, path = MeteredConfig(daily_mb=1.0), tmp_path / str(cut) / "metered.json"
        meter, spent = Meter(policy, path, disk, calendar), 0
        disk.cut_after(cut)
        with suppress(PowerCutError):
            while meter.pause is None:
                meter.spend(50_000)
                spent += 50_000
        disk = disk.after_cut(random.Random(cut))  # noqa: S311 - repeatable on purpose
        again = Meter(policy, path, disk, calendar)
        more = 0
        while again.pause is None:
            again.spend(50_000)
            more += 50_000
        assert spent + more <= MEGABYTE + 50_000


def test_a_count_that_is_damaged_means_that_today_is_used_up(tmp_path: Path) -> None:
    (tmp_path / "metered.json").write_text("?")
    calendar = Calendar()
    meter = meter_of(tmp_path, calendar)
    assert meter.pause is not None
    calendar.now += timedelta(days=1)
    assert meter.pause is None


@pytest.fixture
def fleet(repository: SignedRepository) -> SignedRepository:
    repository.add(BIG)
    repository.publish()
    return repository


def metered_device(folder: Path, fleet: SignedRepository, calendar: Calendar) -> UpdateDevice:
    device = UpdateDevice(folder, fleet, meter=meter_of(folder, calendar))
    device.key_channel.deks[BIG.manifest.release_id] = BIG.dek
    return device


def payload_starts(fleet: SignedRepository) -> list[int]:
    return [start for path, start in fleet.asked if path.endswith("onnx-fp32-320.sealed")]


def test_a_transfer_waits_for_the_budget_and_goes_on_where_it_was(
    tmp_path: Path, fleet: SignedRepository
) -> None:
    calendar = Calendar()
    calendar.patient = device = metered_device(tmp_path, fleet, calendar)
    device.start()
    assert device.deploy(BIG).code == "committed"
    waits = waits_of(device)
    assert len(waits) >= 2
    assert {wait.waiting for wait in waits} == {"waiting for the budget, 1 MB of today are used"}
    assert payload_starts(fleet) == [0, *(wait.done for wait in waits)]


def test_a_restart_while_it_waits_keeps_what_came_and_waits_on(
    tmp_path: Path, fleet: SignedRepository
) -> None:
    calendar = Calendar()
    device = metered_device(tmp_path, fleet, calendar)
    device.start()
    device.updater.submit(Offer(BIG.ref, "command-1"), RecordedReplier())
    with running(device):
        until(lambda: waits_of(device), 30, "the first life waits")
    came = waits_of(device)[0].done
    assert MEGABYTE - STEP_BYTES <= came <= MEGABYTE

    fleet.asked.clear()
    again = metered_device(tmp_path, fleet, calendar)
    again.updater.resume()
    with running(again):
        until(lambda: waits_of(again), 30, "the second life waits")
        assert payload_starts(fleet) == []
        calendar.patient = again
        until(lambda: again.updater.record.phase is Phase.COMMITTED, 30, "it is fetched")
    assert again.current.version == "1.2"
    assert payload_starts(fleet)[0] == came // BLOCK * BLOCK


@contextmanager
def running(device: UpdateDevice) -> Iterator[None]:
    """Let the updater work until the block ends."""
    stop = threading.Event()
    thread = threading.Thread(target=device.updater.run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(60)
    assert not thread.is_alive()
