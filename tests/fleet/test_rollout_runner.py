"""A roll-out is carried out exactly, whatever dies in between."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sql

from agent.errors import ConfigError, StorageError
from agent.fleet.operators import SignedCommand
from agent.fleet.rollout_commands import for_devices
from agent.fleet.rollout_rules import Standing
from agent.fleet.rollout_runner import RolloutRunner
from agent.fleet.rollout_store import RolloutStore, Row
from tests.fleet.rollout_world import (
    PATH,
    SHA256,
    START_MS,
    WAVES,
    Death,
    Fuse,
    World,
    begun,
    signed,
)

DAY_S = 24 * 3600  # that commands are valid, from when they were signed: some time after `START_MS`


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SignedCommand]:
    return signed(tmp_path_factory.mktemp("desk"))


@pytest.fixture
def store(tmp_path: Path, commands: dict[str, SignedCommand]) -> RolloutStore:
    return begun(tmp_path / "fleet.db", commands)


@pytest.fixture
def world() -> World:
    world = World()
    world.tell_states()
    return world


def steps(store: RolloutStore) -> dict[str, str]:
    return {row.device: row.step.value for row in store.devices("people-2")}


def advance(run: RolloutRunner, world: World, times: int) -> None:
    for _ in range(times):
        run.step()
        world.live()
    run.step()


def test_a_good_release_reaches_all_wave_by_wave(
    store: RolloutStore, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    run = world.runner(store)
    advance(run, world, 1)
    assert set(world.taken) == {"cam-1"}
    assert "soaks for another" in store.rollout("people-2").reason
    advance(run, world, 4)
    assert set(steps(store).values()) == {"committed"}
    assert store.rollout("people-2").standing is Standing.DONE
    said = [(one.levelname, one.getMessage()) for one in caplog.records]
    assert said == [("INFO", "roll-out people-2: done: 4 of 4 have the release")]


def test_a_bad_release_halts_with_the_first_wave_alone(
    store: RolloutStore, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.good = False
    advance(world.runner(store), world, 10)
    assert set(world.taken) == {"cam-1"}
    assert store.rollout("people-2").standing is Standing.HALTED
    assert store.devices("people-2")[0].code == "update.rolled_back"
    assert [one.levelname for one in caplog.records] == ["WARNING"]


@pytest.mark.parametrize("good", [True, False])
def test_a_controller_that_dies_at_any_moment_goes_on_exactly(
    store: RolloutStore, tmp_path: Path, *, good: bool
) -> None:
    store.close()
    moments = 1
    while died(copied(tmp_path, moments), moments, good=good):
        moments += 1
    # claim, send, three notes and reasons, before, inside and after: fewer would mean that nothing was tried
    assert moments > (60 if good else 15)


def copied(folder: Path, number: int) -> Path:
    copy = folder / f"{number}.db"
    shutil.copy(folder / "fleet.db", copy)
    return copy


def died(database: Path, moments: int, *, good: bool) -> bool:
    """Carry out the roll-out in `database`, whose controller dies once; return whether it came to that."""
    fuse, world = Fuse(moments), World(good=good)
    world.tell_states()
    store = RolloutStore(database)
    mortal: Any = RolloutStore(database)
    for name in ("claim", "note", "move", "explain"):
        setattr(mortal, name, fuse.around(getattr(mortal, name)))
    # And between a statement that changes something and the end of its transaction.
    sql.event.listen(mortal._database._engine, "after_cursor_execute", changed(fuse))
    doomed: Any = World(good=good)
    doomed.__dict__ = world.__dict__ | {"send": fuse.around(world.send)}
    dead = False
    try:
        live_through(RolloutRunner(mortal, doomed, lambda: world.now_ms), world, store)
    except Death:
        dead = True
        world.restart()
        live_through(world.runner(store), world, store)
    expected = set(WAVES) if good else {"cam-1"}
    assert set(world.taken) == expected, f"death at moment {moments}"
    end = Standing.DONE if good else Standing.HALTED
    assert store.rollout("people-2").standing is end, f"death at moment {moments}"
    mortal.close()
    store.close()
    return dead


def changed(fuse: Fuse) -> Callable[..., None]:
    def burn(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith(("UPDATE", "INSERT")):
            fuse.burn()

    return burn


def live_through(run: RolloutRunner, world: World, store: RolloutStore) -> None:
    for _ in range(8):
        run.step()
        asked = {row.device for row in store.devices("people-2") if row.sends}
        assert set(world.taken) <= asked, "written down first, sent second"
        world.live()


def test_what_is_paused_or_aborted_sends_nothing(store: RolloutStore, world: World) -> None:
    run = world.runner(store)
    rows = store.devices("people-2")
    assert store.move("people-2", Standing.RUNNING, Standing.PAUSED, "", START_MS)
    advance(run, world, 3)
    # Not even one that had decided before it was paused.
    assert not store.claim("people-2", rows[0], world.now_ms, 0)
    assert not world.taken
    assert store.move("people-2", Standing.PAUSED, Standing.RUNNING, "", START_MS)
    advance(run, world, 1)
    assert set(world.taken) == {"cam-1"}
    assert store.move("people-2", Standing.RUNNING, Standing.ABORTED, "", START_MS)
    advance(run, world, 5)
    assert set(world.taken) == {"cam-1"}


def test_two_controllers_ask_a_device_once(
    store: RolloutStore, world: World, tmp_path: Path
) -> None:
    row = store.devices("people-2")[0]
    other = RolloutStore(tmp_path / "fleet.db")
    claims = [one.claim("people-2", row, world.now_ms, 0) for one in (store, other)]
    other.close()
    assert claims == [True, False]


def test_a_step_reads_what_moved_and_not_the_whole_fleet(
    store: RolloutStore, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = world.runner(store)
    read: list[str] = []
    world.tell_states()
    run.step()
    world.live()
    whole, some = store.devices, store.some_devices

    def devices(name: str) -> list[Row]:
        read.append("all")
        return whole(name)

    def some_devices(name: str, found: Collection[str]) -> list[Row]:
        read.extend(found)
        return some(name, found)

    monkeypatch.setattr(store, "devices", devices)
    monkeypatch.setattr(store, "some_devices", some_devices)
    for _ in range(5):
        run.step()
    assert set(read) == {"cam-1"}
    assert steps(store)["cam-1"] == "committed"


def test_expired_commands_wait_for_new_ones(
    store: RolloutStore, world: World, commands: dict[str, SignedCommand]
) -> None:
    world.now_ms += 2 * DAY_S * 1000
    run = world.runner(store)
    run.step()
    assert not world.taken
    assert "rollout add" in store.rollout("people-2").reason
    assert store.add_commands("people-2", {"cam-1": commands["cam-1"]}) == 1


def test_a_database_that_goes_away_sends_nothing(
    store: RolloutStore, world: World, tmp_path: Path
) -> None:
    store.close()
    (tmp_path / "fleet.db").write_bytes(b"not a database at all" * 500)
    with pytest.raises(StorageError, match=r"fleet\.db"):
        world.runner(RolloutStore(tmp_path / "fleet.db")).step()
    assert not world.taken


def test_a_name_is_used_once(store: RolloutStore, commands: dict[str, SignedCommand]) -> None:
    again = store.rollout("people-2")
    with pytest.raises(ConfigError, match="one of this name"):
        store.create(again, WAVES, commands)
    with pytest.raises(ConfigError, match="not known") as caught:
        store.rollout("people-3")
    assert "people-2" in caught.value.hint


@pytest.mark.parametrize(
    ("path", "devices", "later_s", "problem"),
    [
        (PATH.replace("2.0", "3.0"), list(WAVES), 0, "does not order to install"),
        (PATH, ["cam-2"], 0, "'d/cam-1', which is no device of the plan"),
        (PATH, list(WAVES), 2 * DAY_S, "has expired"),
    ],
)
def test_commands_for_something_else_are_refused(
    commands: dict[str, SignedCommand], path: str, devices: list[str], later_s: int, problem: str
) -> None:
    files = {Path(f"{device}.command"): command for device, command in commands.items()}
    now_s = START_MS // 1000 + later_s
    with pytest.raises(ConfigError, match=problem):
        for_devices(files, path, SHA256, devices, now_s)


def test_two_commands_for_one_device_are_refused(commands: dict[str, SignedCommand]) -> None:
    files = {Path("a.command"): commands["cam-1"], Path("b.command"): commands["cam-1"]}
    with pytest.raises(ConfigError, match=r"b\.command: a second command for cam-1"):
        for_devices(files, PATH, SHA256, list(WAVES), START_MS // 1000)
