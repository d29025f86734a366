"""The loop: real decisions and a scripted supervisor."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from agent.errors import CommandError, ModelError
from agent.governor.governor import Governor, Ports, Rules
from agent.governor.ladder import Rates
from agent.governor.ports import Setting, Speed
from agent.governor.sensing import Senses
from agent.governor.situation import Limits, Pace
from agent.models.store import InstalledRelease
from agent.schema.governor import GovernorMove, PinRungArgs
from tests.governor.test_sensing import Clock
from tests.parts.signed_repository import make_release, with_fallback

LARGE, SMALL = "onnx-fp32-320", "onnx-fp32-160"
COSTS: dict[str, float | None] = {LARGE: 60.0, SMALL: 15.0}
SLOW, QUICK = Speed(50, 150.0, 150.0, 0.0), Speed(50, 15.0, 15.0, 0.0)


def installed(counter: int) -> InstalledRelease:
    made = with_fallback(make_release(counter))
    variants = tuple(made.manifest.variants)
    return InstalledRelease(made.ref, made.manifest, variants[0], Path(), variants[1:])


@dataclass
class ScriptedThrottle:
    """A supervisor without workers: remembers what it was told; `fault` is raised by the next switch."""

    setting: Setting | None = field(default_factory=lambda: Setting(installed(1), 0.0))
    fault: ModelError | None = None

    def set_rate(self, max_fps: float) -> None:
        assert self.setting is not None
        self.setting = Setting(self.setting.release, max_fps)

    def switch(self, release: InstalledRelease, max_fps: float) -> None:
        if self.fault:
            fault, self.fault = self.fault, None
            raise fault
        self.setting = Setting(release, max_fps)


class Device:
    """A governor whose seconds, speed and supervisor the test plays."""

    def __init__(self, folder: Path, costs_ms: dict[str, float | None] = COSTS) -> None:
        self.clock, self.throttle = Clock(), ScriptedThrottle()
        self.speed: Speed | None = QUICK
        self.held = ""
        self.moves: list[GovernorMove] = []
        ports = Ports(
            self.throttle,
            lambda _window_s: self.speed,
            lambda _release: costs_ms,
            lambda: self.held,
            self.moves.append,
        )
        rules = Rules(Limits(100.0, 75.0), Pace(), Rates(15.0, 5.0))
        self.governor = Governor("cam-1", ports, rules, Senses(folder, self.clock), self.clock)

    def live(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.now_s += 1
            self.governor.look()

    @property
    def serves(self) -> tuple[str, float]:
        assert self.throttle.setting is not None
        return self.throttle.setting.release.variant.id, self.throttle.setting.max_fps


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


def test_it_switches_the_variant_when_frames_are_slow_and_comes_back(device: Device) -> None:
    device.live(30)
    assert device.serves == (LARGE, 0.0)
    device.speed = SLOW
    device.live(3)
    assert device.serves == (SMALL, 0.0)
    device.speed = QUICK
    device.live(1000)
    assert device.serves == (LARGE, 0.0)
    assert next(move.cause for move in device.moves) == "latency"
    assert {move.cause for move in device.moves[1:]} == {"recovered"}


def test_a_switch_that_fails_leaves_what_serves_and_that_variant_is_not_tried_again(
    device: Device,
) -> None:
    device.live(30)
    device.speed, device.throttle.fault = SLOW, ModelError("wrong results", code="model.golden")
    device.live(100)
    assert device.serves[0] == LARGE
    assert [move.cause for move in device.moves][:1] == ["failed"]
    assert "wrong results" in device.moves[0].reason
    report = device.governor.report()
    assert report is not None
    assert report.rung.startswith(LARGE)


def test_a_variant_that_fails_leaves_its_rungs_above_the_present_one_as_well(
    tmp_path: Path,
) -> None:
    """Large and small take turns on this ladder: the rung that stays gets another index."""
    device = Device(tmp_path, {LARGE: 60.0, SMALL: 24.0})
    device.live(1)
    device.governor.pinning.pin(PinRungArgs(rung=f"{LARGE}@5"))
    device.live(30)
    device.governor.pinning.pin(PinRungArgs(rung="auto"))
    device.speed, device.throttle.fault = SLOW, ModelError("wrong results", code="model.golden")
    device.live(10)
    report = device.governor.report()
    assert report is not None
    assert (report.rung, report.index, report.rungs) == (f"{LARGE}@5", 2, 3)


def test_it_rests_while_a_release_is_judged(device: Device) -> None:
    device.live(30)
    device.speed, device.held = SLOW, "an update is on probation"
    device.live(300)
    assert device.moves == []
    device.held = ""
    device.live(2)
    assert len(device.moves) == 1


def test_a_release_that_takes_over_begins_on_its_top_rung(device: Device) -> None:
    device.speed = SLOW
    device.live(30)
    assert device.serves[0] == SMALL
    device.throttle.setting = Setting(installed(2), 0.0)
    device.live(1)
    assert device.governor.rung is not None
    assert device.governor.rung.name == LARGE


def test_a_worker_that_is_away_for_a_moment_changes_nothing(device: Device) -> None:
    device.speed = SLOW
    device.live(30)
    serving, device.throttle.setting = device.throttle.setting, None
    device.live(3)
    device.throttle.setting = serving
    device.live(1)
    assert device.governor.rung is not None
    assert device.governor.rung.name == SMALL
    assert len(device.moves) == 1


def test_a_pin_holds_for_its_minutes(device: Device) -> None:
    device.live(1)
    device.governor.pinning.pin(PinRungArgs(rung=SMALL, minutes=5))
    device.live(290)
    assert device.serves == (SMALL, 0.0)
    device.live(400)
    assert device.serves == (LARGE, 0.0)


def test_a_pin_that_cannot_be_carried_out_is_told_once_and_forgotten(device: Device) -> None:
    device.live(1)
    device.throttle.fault = ModelError("it does not load", code="model.failed")
    device.governor.pinning.pin(PinRungArgs(rung=SMALL, minutes=5))
    device.live(50)
    assert [move.cause for move in device.moves] == ["failed"]
    assert device.serves == (LARGE, 0.0)


def test_a_rung_that_is_not_there_cannot_be_pinned(device: Device) -> None:
    device.live(1)
    with pytest.raises(CommandError, match=f"one of {LARGE}"):
        device.governor.pinning.pin(PinRungArgs(rung="other"))
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"rung": "", "minutes": 5}, PinRungArgs)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"rung": "auto", "minutes": -1}, PinRungArgs)


def test_few_frames_say_nothing(device: Device) -> None:
    device.speed = Speed(2, 900.0, 900.0, 0.0)
    device.live(100)
    assert device.moves == []
