"""Devices that boast, speak for others or have a wrong clock, a broker that forgets, a database that goes: roll-outs stay exact."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.errors import StorageError
from agent.fleet.rollout_rules import Standing
from agent.fleet.rollout_runner import RolloutRunner
from agent.fleet.rollout_store import RolloutStore
from agent.schema.messages import Outcome, ReplyStatus, UpdateReport
from tests.fleet.old_database import execute
from tests.fleet.rollout_world import PATH, PLAN, WAVES, World, begun, signed

FAR_MS = 4_102_444_800_000  # the year 2100
Begin = Callable[[World], tuple[RolloutStore, RolloutRunner]]


@pytest.fixture
def begin(tmp_path: Path) -> Begin:
    def made(world: World) -> tuple[RolloutStore, RolloutRunner]:
        world.tell_states()
        store = begun(tmp_path / "fleet.db", signed(tmp_path))
        return store, world.runner(store)

    return made


def go_on(run: RolloutRunner, world: World, times: int = 8) -> None:
    for _ in range(times):
        run.step()
        world.live()


def steps(store: RolloutStore) -> dict[str, str]:
    return {row.device: row.step.value for row in store.devices(PLAN.name)}


@pytest.mark.parametrize("at_ms", [5, FAR_MS])
def test_a_state_that_boasts_of_the_release_counts_for_nothing_before_the_device_was_asked(
    begin: Begin, at_ms: int
) -> None:
    world = World()
    store, run = begin(world)
    report = UpdateReport(release="people 2.0", path=PATH, outcome=Outcome.COMMITTED, at_ms=at_ms)
    for device in WAVES:
        world.say_state(device, report)
    run.step()
    run.step()
    assert set(world.taken) == {"cam-1"}
    assert steps(store) == {
        "cam-1": "asked",
        "cam-2": "waiting",
        "cam-3": "waiting",
        "cam-4": "waiting",
    }


@pytest.mark.parametrize(
    ("leaf", "forged"),
    [
        ("state", {"last_update": {"at_ms": 2**63}}),
        ("state", {"last_update": {"at_ms": 10**30}}),
        ("state", {"last_update": {"code": "no\0code"}}),
        ("state", {"at_ms": -1}),
        ("reply", {"id": "no\0command"}),
        ("reply", {"code": "no\0code"}),
        ("reply", {"at_ms": 2**63}),
    ],
)
def test_what_no_table_can_hold_is_dropped_and_roll_outs_go_on(
    begin: Begin, leaf: str, forged: dict[str, Any]
) -> None:
    world = World()
    store, run = begin(world)
    run.step()
    world.say_forged(leaf, "cam-1", forged)
    go_on(run, world)
    assert store.rollout(PLAN.name).standing is Standing.DONE


def test_a_reply_about_the_command_of_another_device_changes_nothing(begin: Begin) -> None:
    world = World()
    store, run = begin(world)
    run.step()
    for status in (ReplyStatus.ACCEPTED, ReplyStatus.SUCCEEDED, ReplyStatus.FAILED):
        world.say_reply("cam-2", status, command=world.taken["cam-1"])
    run.step()
    assert steps(store)["cam-1"] == "asked"
    assert store.rollout(PLAN.name).standing is Standing.RUNNING


@pytest.mark.parametrize("clock_ms", [5, FAR_MS])
def test_a_device_with_a_wrong_clock_takes_part_though_its_replies_were_missed(
    begin: Begin, clock_ms: int
) -> None:
    world = World(clock_ms=clock_ms)
    store, run = begin(world)
    for _ in range(8):
        run.step()
        world.live()
        world.restart()  # whoever comes next hears states alone
        run = world.runner(store)
    assert store.rollout(PLAN.name).standing is Standing.DONE
    assert set(world.taken) == set(WAVES)


def test_a_table_that_is_gone_sends_nothing_and_all_goes_on_when_it_is_back(
    begin: Begin, tmp_path: Path
) -> None:
    world, database = World(), tmp_path / "fleet.db"
    store, run = begin(world)
    go_on(run, world, 1)
    execute(database, "ALTER TABLE rollout_devices RENAME TO gone")
    for _ in range(2):
        world.live()
        with pytest.raises(StorageError, match=r"fleet\.db"):
            run.step()
    assert set(world.taken) == {"cam-1"}
    execute(database, "ALTER TABLE gone RENAME TO rollout_devices")
    go_on(run, world)
    assert store.rollout(PLAN.name).standing is Standing.DONE


def test_a_command_that_the_broker_forgot_is_sent_again_ever_more_rarely(begin: Begin) -> None:
    world = World(forgetful=True)
    store, run = begin(world)
    times = []
    for second in range(0, 590, 10):
        before = len(world.sent)
        run.step()
        times += [second] * (len(world.sent) - before)
        world.now_ms += 10_000
        world.tell_states()
    assert times == [0, 60, 180, 420]
    world.forgetful = False
    world.now_ms -= 9_000
    # It is silent for as long as the plan allows from the first time, and no longer.
    run.step()
    assert store.rollout(PLAN.name).standing is Standing.RUNNING
    world.now_ms += 20_000
    world.tell_states()
    run.step()
    assert store.rollout(PLAN.name).standing is Standing.HALTED


def test_a_roll_out_goes_on_after_a_broker_forgot_a_command(begin: Begin) -> None:
    world = World(forgetful=True)
    store, run = begin(world)
    run.step()
    assert (world.sent, world.taken) == (["cam-1"], {})
    world.forgetful = False
    go_on(run, world, 12)
    assert store.rollout(PLAN.name).standing is Standing.DONE
    assert [row.sends for row in store.devices(PLAN.name)] == [2, 1, 1, 1]


def test_what_was_answered_is_not_sent_again(begin: Begin) -> None:
    world = World()
    _, run = begin(world)
    run.step()
    world.say_reply("cam-1", ReplyStatus.ACCEPTED)
    for _ in range(5):
        world.now_ms += 60_000
        world.tell_states()
        run.step()
    assert world.sent == ["cam-1"]


def test_nothing_is_sent_again_after_the_end(begin: Begin) -> None:
    world = World(forgetful=True)
    store, run = begin(world)
    run.step()
    assert store.move(PLAN.name, Standing.RUNNING, Standing.ABORTED, "", world.now_ms)
    world.now_ms += 300_000
    world.tell_states()
    run.step()
    assert world.sent == ["cam-1"]
