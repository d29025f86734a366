"""Clocks."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from agent.host.clock import CaptureClock, boot_id, monotonic_ns, wall_ms

if TYPE_CHECKING:
    from pathlib import Path


def test_wall_time_is_unix_milliseconds() -> None:
    assert abs(wall_ms() - time.time() * 1000) < 5000


def test_monotonic_time_does_not_go_back() -> None:
    first = monotonic_ns()
    assert monotonic_ns() >= first


def test_a_boot_has_one_name(tmp_path: Path) -> None:
    place = tmp_path / "proc/sys/kernel/random/boot_id"
    place.parent.mkdir(parents=True)
    place.write_text("c0ffee\n")
    assert boot_id(tmp_path) == "c0ffee"
    assert boot_id(tmp_path / "elsewhere") == ""
    assert boot_id() == boot_id()


def stamped(*times: tuple[int, int]) -> tuple[list[int], int]:
    """Wall times that a clock gives for readings (wall, monotonic) in milliseconds, and its jumps."""
    walls, monotonics = iter([wall for wall, _ in times]), iter([at for _, at in times])
    clock = CaptureClock(lambda: next(walls), lambda: next(monotonics) * 1_000_000)
    return [clock.stamp()[0] for _ in times], clock.jumps


def test_a_small_correction_does_not_let_wall_time_run_back() -> None:
    assert stamped((1000, 0), (1100, 100), (1050, 200), (1300, 300)) == (
        [1000, 1100, 1100, 1300],
        0,
    )


def test_a_jump_of_the_wall_clock_is_followed_and_counted() -> None:
    hour = 3_600_000
    forth_and_back = ((1000, 0), (1100 + hour, 100), (1200, 200), (1300, 300))
    assert stamped(*forth_and_back) == ([1000, 1100 + hour, 1200, 1300], 2)


def test_a_long_pause_is_no_jump() -> None:
    assert stamped((1000, 0), (61_000, 60_000)) == ([1000, 61_000], 0)
