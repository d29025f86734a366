"""Clocks."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from agent.host.clock import boot_id, monotonic_ns, wall_ms

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
