"""What the governor senses, on boards that are folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.governor.sensing import Senses, slope_c_min
from agent.host.pressure import memory_pressure
from tests.parts.boards import put

ZONE = "sys/class/thermal/thermal_zone0/temp"
PSI = "proc/pressure/memory"
FIRMWARE = "sys/devices/platform/soc/soc:firmware/get_throttled"


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> int:
        return int(self.now_s * 1e9)


def warm(root: Path, degrees: float) -> None:
    put(root, "sys/class/thermal/thermal_zone0/type", "cpu-thermal\n")
    put(root, ZONE, f"{degrees * 1000:.0f}\n")


def test_the_slope_is_that_of_the_last_minute(tmp_path: Path) -> None:
    clock = Clock()
    senses = Senses(tmp_path, clock)
    for second in range(120):
        clock.now_s += 1
        warm(tmp_path, 50 if second < 60 else 50 + (second - 60) / 20)
        board = senses.look()
    assert board.temperature_c == pytest.approx(52.95)
    assert board.slope_c_min == pytest.approx(3.0, abs=0.1)


def test_the_slope_is_never_from_before_the_last_move(tmp_path: Path) -> None:
    clock = Clock()
    senses = Senses(tmp_path, clock)
    for second in range(60):
        clock.now_s += 1
        warm(tmp_path, 50 + second / 20 if second < 40 else 52 - (second - 40) / 20)
        board = senses.look(since_s=1041.0)
    assert board.slope_c_min == pytest.approx(-3.0, abs=0.1)


def test_a_slope_needs_ten_seconds() -> None:
    assert slope_c_min([(0.0, 50.0), (9.0, 60.0)]) is None
    assert slope_c_min([(0.0, 50.0), (10.0, 60.0)]) == pytest.approx(60.0)


@pytest.mark.parametrize("said", ["-273000\n", "1000000000\n", "nonsense", ""])
def test_nonsense_is_no_temperature(tmp_path: Path, said: str) -> None:
    put(tmp_path, "sys/class/thermal/thermal_zone0/type", "cpu-thermal\n")
    put(tmp_path, ZONE, said)
    board = Senses(tmp_path).look()
    assert (board.temperature_c, board.slope_c_min) == (None, None)


def test_memory_pressure_is_the_share_of_the_last_ten_seconds(tmp_path: Path) -> None:
    assert memory_pressure(tmp_path) is None
    put(tmp_path, PSI, "some avg10=12.50 avg60=1.00 avg300=0.00 total=1\nfull avg10=9.00\n")
    assert memory_pressure(tmp_path) == 12.5
    put(tmp_path, PSI, "some avg10=nonsense")
    assert memory_pressure(tmp_path) is None


def test_flags_of_a_raspberry_pi_hold_only_while_they_are_set(tmp_path: Path) -> None:
    clock = Clock()
    senses = Senses(tmp_path, clock)
    put(tmp_path, FIRMWARE, "50005\n")
    assert senses.look().throttled == ("under-voltage", "throttled")
    put(tmp_path, FIRMWARE, "50000\n")
    clock.now_s += 10
    assert senses.look().throttled == (), "what was throttled earlier is no reason now"


def test_over_current_of_a_jetson_counts_when_it_rises(tmp_path: Path) -> None:
    clock = Clock()
    put(tmp_path, "sys/class/hwmon/hwmon2/oc3_event_cnt", "4\n")
    senses = Senses(tmp_path, clock)
    assert senses.look().throttled == (), "events of the past"
    put(tmp_path, "sys/class/hwmon/hwmon2/oc3_event_cnt", "5\n")
    clock.now_s += 10
    assert senses.look().throttled == ("over-current oc3",)
    clock.now_s += 10
    assert senses.look().throttled == ()


def test_a_board_that_says_nothing_is_sensed_without_a_word(tmp_path: Path) -> None:
    board = Senses(tmp_path).look()
    assert board.temperature_c is None
    assert (board.throttled, board.memory_pressure, board.power_mode) == ((), None, "")
