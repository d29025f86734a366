"""A power cut at every step of staging, starting, keeping and giving up: always one of the two versions runs."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.update.selfupdate import launcher
from agent.update.selfupdate.slots import Slots
from tests.parts.power_cut_disk import PowerCutDisk, PowerCutError

BOTH = ("a", "b")
LIMITS = {"deadline_s": 9.0}


def fresh(folder: Path) -> PowerCutDisk:
    disk = PowerCutDisk(folder)
    disk.make_dirs(folder / "state")
    slots(disk, "a").stage("0.9", "", LIMITS)
    slots(disk, "b").keep()
    return disk  # b runs 0.9


def slots(disk: PowerCutDisk, running: str) -> Slots:
    return Slots(disk.root, running, disk)


def start(disk: PowerCutDisk) -> str:
    return launcher.begin(disk, slots(disk, "a").path, BOTH)[1]


def good_update(disk: PowerCutDisk) -> None:
    slots(disk, "b").clear()
    slots(disk, "b").stage("1.0", "c1", LIMITS)
    assert start(disk) == "a"
    slots(disk, "a").keep()
    slots(disk, "a").told()


def bad_update(disk: PowerCutDisk) -> None:
    slots(disk, "b").stage("1.0", "c1", LIMITS)
    assert start(disk) == "a"
    slots(disk, "a").give_up("sick")
    assert start(disk) == "b"
    slots(disk, "b").told()


@pytest.mark.parametrize("story", [good_update, bad_update])
def test_a_cut_at_every_step_leaves_the_old_or_the_new_version(
    tmp_path: Path, story: Callable[[PowerCutDisk], None]
) -> None:
    whole = fresh(tmp_path / "whole")
    before = whole.steps
    story(whole)
    steps = whole.steps - before
    assert steps > 15
    for step in range(steps):
        for seed in range(4):
            disk = fresh(tmp_path / f"{step}-{seed}")
            disk.cut_after(step)
            with pytest.raises(PowerCutError):
                story(disk)
            found = disk.after_cut(random.Random(step * 10 + seed))  # noqa: S311 - which bytes survive
            check(found)


def check(disk: PowerCutDisk) -> None:
    """The machine starts again, again and again without anybody keeping anything: it ends at a version that was kept."""
    state = slots(disk, "a").read()
    assert state["version"] in {"0.9", "1.0"}
    settled = {"0.9": "b", "1.0": "a"}[state["version"]]
    started = [start(disk) for _ in range(launcher.MAX_TRIES + 1)]
    assert started[-1] == settled
    assert set(started) <= set(BOTH)
    assert slots(disk, "a").read()["candidate"] is None
    # The next update still works.
    running = slots(disk, settled)
    running.stage("2.0", "c2", LIMITS)
    assert start(disk) == running.spare
    slots(disk, running.spare).keep()
    assert start(disk) == running.spare


def test_a_second_cut_while_the_try_is_counted_counts_it_once_at_most(tmp_path: Path) -> None:
    disk = fresh(tmp_path / "disk")
    slots(disk, "b").stage("1.0", "c1", LIMITS)
    for seed in range(20):
        disk.cut_after(seed % 5)
        with contextlib.suppress(PowerCutError):
            start(disk)
        disk = disk.after_cut(random.Random(seed))  # noqa: S311 - which bytes survive
    state = slots(disk, "a").read()
    assert state["version"] == "0.9"
    assert state["candidate"] is None or state["candidate"]["tries"] <= launcher.MAX_TRIES
