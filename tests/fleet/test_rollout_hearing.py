"""What a controller learns late or not at all: it hears it all the same, and judges nobody whom it could not hear."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.errors import StorageError
from agent.fleet import rollout_runner
from agent.fleet.rollout_rules import Standing
from agent.fleet.rollout_runner import RolloutRunner
from agent.fleet.rollout_store import RolloutStore
from agent.fleet.rollout_tally import Step
from agent.schema.messages import ReplyStatus
from tests.fleet.old_database import execute
from tests.fleet.rollout_world import PLAN, START_MS, World, begun, signed


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RolloutStore]:
    store = begun(tmp_path / "fleet.db", signed(tmp_path))
    yield store
    store.close()


@pytest.fixture
def world() -> World:
    world = World()
    world.tell_states()
    return world


@contextmanager
def table_away(database: Path) -> Iterator[None]:
    """Nothing can be read or written about devices until the block ends."""
    execute(database, "ALTER TABLE rollout_devices RENAME TO gone")
    yield
    execute(database, "ALTER TABLE gone RENAME TO rollout_devices")


def step_of(store: RolloutStore, device: str) -> str:
    return next(row.step.value for row in store.devices(PLAN.name) if row.device == device)


def test_what_devices_say_after_the_end_is_still_written_down(
    store: RolloutStore, world: World
) -> None:
    run = world.runner(store)
    run.step()
    store.move(PLAN.name, Standing.RUNNING, Standing.ABORTED, "", START_MS)
    world.live()
    run.step()
    assert step_of(store, "cam-1") == "committed"


@pytest.mark.parametrize("end", [Standing.PAUSED, Standing.HALTED, Standing.ABORTED])
def test_what_a_controller_heard_and_did_not_write_before_it_died_is_learnt_after_the_end_too(
    store: RolloutStore, world: World, end: Standing
) -> None:
    world.runner(store).step()
    store.move(PLAN.name, Standing.RUNNING, end, "", START_MS)
    world.live()
    world.restart()
    run = world.runner(store)
    run.step()
    world.tell_states()
    run.step()
    assert step_of(store, "cam-1") == "committed"


def test_an_offline_device_is_asked_when_it_comes(store: RolloutStore, world: World) -> None:
    world.offline = {"cam-1"}
    run = world.runner(store)
    world.tell_states()
    for _ in range(3):
        run.step()
        world.live()
    assert not world.taken
    assert store.rollout(PLAN.name).reason == "offline: 1 device"
    world.offline.clear()
    world.tell_states()
    run.step()
    assert set(world.taken) == {"cam-1"}


def test_nothing_is_sent_while_the_broker_is_away(store: RolloutStore, world: World) -> None:
    world.connected = False
    run = world.runner(store)
    run.step()
    assert not world.taken
    world.connected = True
    run.step()
    assert set(world.taken) == {"cam-1"}


def test_silence_counts_only_while_the_fleet_is_heard(store: RolloutStore, world: World) -> None:
    run = world.runner(store)
    run.step()
    world.connected = False
    for _ in range(3):
        world.now_ms += PLAN.answer_within_s * 1000
        run.step()
    world.connected = True
    for seconds, standing in ((0, "running"), (PLAN.answer_within_s - 1, "running"), (2, "halted")):
        world.now_ms += seconds * 1000
        run.step()
        assert store.rollout(PLAN.name).standing.value == standing


def test_silence_does_not_count_while_the_database_is_away(
    store: RolloutStore, world: World, tmp_path: Path
) -> None:
    run = world.runner(store)
    run.step()
    with table_away(tmp_path / "fleet.db"):
        world.now_ms += 2 * PLAN.answer_within_s * 1000
        with pytest.raises(StorageError):
            run.step()
    run.step()
    assert store.rollout(PLAN.name).standing is Standing.RUNNING


def test_a_reply_is_acknowledged_when_it_is_written_down(
    store: RolloutStore, world: World, tmp_path: Path
) -> None:
    run = world.runner(store)
    run.step()
    with table_away(tmp_path / "fleet.db"):
        world.live()
        with pytest.raises(StorageError):
            run.step()
    assert not world.acknowledged
    run.step()
    assert world.acknowledged == ["cam-1", "cam-1"]
    assert step_of(store, "cam-1") == "committed"


def test_who_listens_ends_when_told_though_others_took_what_it_heard(
    store: RolloutStore, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollout_runner, "_EVERY_S", 0.001)
    # What is written takes long, and that is not what this is about.
    monkeypatch.setattr(store, "note", lambda *_: True)
    for _ in range(20):
        run, stop = world.runner(store), threading.Event()
        listener = threading.Thread(target=run.listen, args=(stop,), daemon=True)
        others = [threading.Thread(target=take_all, args=(run, stop)) for _ in range(2)]
        for thread in (listener, *others):
            thread.start()
        for _ in range(100):
            world.say_reply("cam-1", ReplyStatus.ACCEPTED, "unknown")
        stop.set()
        listener.join(30)
        assert not listener.is_alive()


def take_all(run: RolloutRunner, stop: threading.Event) -> None:
    while not stop.is_set():
        run._take_in()


def test_a_controller_that_comes_back_late_calls_nobody_silent(
    store: RolloutStore, world: World
) -> None:
    world.runner(store).step()
    world.now_ms += 2 * PLAN.answer_within_s * 1000
    world.restart()
    run = world.runner(store)
    run.step()
    world.live()
    run.step()
    assert store.counts(PLAN.name)[0, Step.COMMITTED] == 1
    assert store.rollout(PLAN.name).standing is Standing.RUNNING
