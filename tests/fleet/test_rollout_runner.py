"""A roll-out is carried out exactly, whatever dies in between."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner

from agent.errors import ConfigError, StorageError
from agent.fleet.operators import CommandDesk, SignedCommand, deploy_order
from agent.fleet.rollout_commands import for_devices
from agent.fleet.rollout_rules import Standing
from agent.fleet.rollout_runner import RolloutRunner
from agent.fleet.rollout_store import Rollout, RolloutStore, Row
from agent.fleet.rollout_tally import Step
from agent.schema.manifest import ReleaseRef
from tests.fleet.rollout_world import PATH, PLAN, SHA256, START_MS, WAVES, Death, Fuse, World


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SignedCommand]:
    signer = CryptoSigner.generate_ed25519()
    desk = CommandDesk(tmp_path_factory.mktemp("desk") / "counters.json")
    release = ReleaseRef(path=PATH, sha256=SHA256)
    return {
        device: desk.issue(deploy_order(release, f"d/{device}"), "ada", [signer], 0, 24 * 3600)
        for device in WAVES
    }


@pytest.fixture
def store(tmp_path: Path, commands: dict[str, SignedCommand]) -> RolloutStore:
    store = RolloutStore(tmp_path / "fleet.db")
    rollout = Rollout("people-2", PLAN, PATH, SHA256, Standing.RUNNING, "", START_MS)
    store.create(rollout, WAVES, commands)
    return store


@pytest.fixture
def world() -> World:
    world = World()
    world.tell_states()
    return world


def runner(store: RolloutStore, world: World) -> RolloutRunner:
    return RolloutRunner(store, world, lambda: world.now_ms)


def steps(store: RolloutStore) -> dict[str, str]:
    return {row.device: row.step.value for row in store.devices("people-2")}


def advance(run: RolloutRunner, world: World, times: int) -> None:
    for _ in range(times):
        run.step()
        world.live()
    run.step()


def test_a_good_release_reaches_all_wave_by_wave(store: RolloutStore, world: World) -> None:
    run = runner(store, world)
    advance(run, world, 1)
    assert set(world.taken) == {"cam-1"}
    assert "soaks for another" in store.rollout("people-2").reason
    advance(run, world, 4)
    assert set(steps(store).values()) == {"committed"}
    assert store.rollout("people-2").standing is Standing.DONE


def test_a_bad_release_halts_with_the_first_wave_alone(store: RolloutStore, world: World) -> None:
    world.good = False
    advance(runner(store, world), world, 10)
    assert set(world.taken) == {"cam-1"}
    assert store.rollout("people-2").standing is Standing.HALTED
    assert store.devices("people-2")[0].code == "update.rolled_back"


@pytest.mark.parametrize("good", [True, False])
def test_a_controller_that_dies_at_any_moment_goes_on_exactly(
    store: RolloutStore, tmp_path: Path, *, good: bool
) -> None:
    store.close()
    moments = 1
    while died(copied(tmp_path, moments), moments, good=good):
        moments += 1
    # claim, send, three notes and reasons, before and after: fewer would mean that nothing was tried
    assert moments > (30 if good else 8)


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
    for name in ("claim", "note", "move"):
        setattr(mortal, name, fuse.around(getattr(mortal, name)))
    doomed: Any = World(good=good)
    doomed.__dict__ = world.__dict__ | {"send": fuse.around(world.send)}
    dead = False
    try:
        live_through(RolloutRunner(mortal, doomed, lambda: world.now_ms), world, store)
    except Death:
        dead = True
        world.restart()
        live_through(runner(store, world), world, store)
    expected = set(WAVES) if good else {"cam-1"}
    assert set(world.taken) == expected, f"death at moment {moments}"
    end = Standing.DONE if good else Standing.HALTED
    assert store.rollout("people-2").standing is end, f"death at moment {moments}"
    mortal.close()
    store.close()
    return dead


def live_through(run: RolloutRunner, world: World, store: RolloutStore) -> None:
    for _ in range(8):
        run.step()
        asked = {row.device for row in store.devices("people-2") if row.sends}
        assert set(world.taken) <= asked, "written down first, sent second"
        world.live()


def test_what_is_paused_or_aborted_sends_nothing(store: RolloutStore, world: World) -> None:
    run = runner(store, world)
    rows = store.devices("people-2")
    assert store.move("people-2", Standing.RUNNING, Standing.PAUSED, "")
    advance(run, world, 3)
    # Not even one that had decided before it was paused.
    assert not store.claim("people-2", rows[0], world.now_ms, 0)
    assert not world.taken
    assert store.move("people-2", Standing.PAUSED, Standing.RUNNING, "")
    advance(run, world, 1)
    assert set(world.taken) == {"cam-1"}
    assert store.move("people-2", Standing.RUNNING, Standing.ABORTED, "")
    advance(run, world, 5)
    assert set(world.taken) == {"cam-1"}


def test_what_devices_say_after_the_end_is_still_written_down(
    store: RolloutStore, world: World
) -> None:
    run = runner(store, world)
    run.step()
    store.move("people-2", Standing.RUNNING, Standing.ABORTED, "")
    world.live()
    run.step()
    assert steps(store)["cam-1"] == Step.COMMITTED.value


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
    run = runner(store, world)
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


def test_an_offline_device_is_asked_when_it_comes(store: RolloutStore, world: World) -> None:
    world.offline = {"cam-1"}
    run = runner(store, world)
    world.tell_states()
    advance(run, world, 3)
    assert not world.taken
    assert store.rollout("people-2").reason == "1 are offline"
    world.offline.clear()
    world.tell_states()
    run.step()
    assert set(world.taken) == {"cam-1"}


def test_nothing_is_sent_while_the_broker_is_away(store: RolloutStore, world: World) -> None:
    world.connected = False
    run = runner(store, world)
    run.step()
    assert not world.taken
    world.connected = True
    run.step()
    assert set(world.taken) == {"cam-1"}


def test_expired_commands_wait_for_new_ones(
    store: RolloutStore, world: World, commands: dict[str, SignedCommand]
) -> None:
    world.now_ms += 25 * 3600 * 1000
    run = runner(store, world)
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
        runner(RolloutStore(tmp_path / "fleet.db"), world).step()
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
        (PATH, list(WAVES), 25 * 3600, "has expired"),
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
