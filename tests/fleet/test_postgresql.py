"""The controller's tables on a real PostgreSQL: the same promises as on SQLite, several controllers, a server that goes."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sql

from agent.errors import InUseError, StorageError, TrustError
from agent.fleet.database_place import engine_of
from agent.fleet.history import history
from agent.fleet.instance import alone_as
from agent.fleet.registry import DeviceRecord, GrantRecord, Registry
from agent.fleet.rollout_rules import Standing
from agent.fleet.rollout_runner import RolloutRunner
from agent.fleet.rollout_store import RolloutStore
from agent.fleet.tokens import Invitation
from tests.fleet.rollout_world import (
    PLAN,
    WAVES,
    World,
    begun,
    claimed_at_once,
    registries_at_once,
    signed,
)
from tests.parts.postgresql import Server
from tests.parts.processes import until

CONTROLLERS = 4


def live(run: RolloutRunner, world: World, times: int = 8) -> None:
    for _ in range(times):
        run.step()
        world.live()


def test_the_registry_keeps_what_it_is_told(server: Server) -> None:
    url = server.database()
    registry = Registry(url)
    record = DeviceRecord("cam-1", "gate", ("north",), b"\x04" * 65, "1f", enrolled_ms=5)
    registry.put_devices([record, DeviceRecord("cam-2", "gate", (), b"", "0")])
    assert registry.device("cam-1") == record
    registry.put_release_key("gate/people/1.0", bytes(range(32)))
    assert registry.release_key("gate/people/1.0") == bytes(range(32))
    registry.log_grant(GrantRecord(1_000, "cam-1", "gate/people/1.0", 200))
    invitation = Invitation("cam-1", "gate", ("north",))
    registry.tokens.put("secret", invitation, expires_ms=1000)
    assert registry.tokens.redeem("secret", "cam-1", "keys", 999) == invitation
    with pytest.raises(TrustError):
        registry.tokens.redeem("secret", "cam-1", "other keys", 999)
    registry.close()
    assert [one.what for one in history(url, "cam-1")] == ["enrolled", "key asked"]


@pytest.mark.parametrize("good", [True, False])
def test_a_roll_out_is_carried_out(server: Server, tmp_path: Path, *, good: bool) -> None:
    store, world = begun(server.database(), signed(tmp_path)), World(good=good)
    world.tell_states()
    live(world.runner(store), world)
    assert store.rollout(PLAN.name).standing is (Standing.DONE if good else Standing.HALTED)
    assert set(world.taken) == (set(WAVES) if good else {"cam-1"})
    store.close()


def test_controllers_may_start_at_once_on_an_empty_database(server: Server) -> None:
    url = server.database()
    for registry in registries_at_once(url, CONTROLLERS):
        assert registry.devices() == []
        registry.close()


def test_several_controllers_ask_each_device_once(server: Server, tmp_path: Path) -> None:
    url = server.database()
    stores = [begun(url, signed(tmp_path)), *(RolloutStore(url) for _ in range(CONTROLLERS - 1))]
    assert sorted(claimed_at_once(stores)) == sorted(WAVES)
    for store in stores:
        store.close()


def test_a_server_that_goes_sends_nothing_and_all_goes_on_when_it_is_back(
    server: Server, tmp_path: Path
) -> None:
    store, world = begun(server.database(), signed(tmp_path)), World()
    world.tell_states()
    run = world.runner(store)
    run.step()
    world.live()
    server.stop()
    try:
        for _ in range(2):
            with pytest.raises(StorageError, match="psycopg"):
                run.step()
        assert set(world.taken) == {"cam-1"}
    finally:
        server.start()
    live(run, world)
    assert store.rollout(PLAN.name).standing is Standing.DONE
    assert set(world.taken) == set(WAVES)
    store.close()


def test_a_name_is_taken_again_when_the_server_is_back(server: Server, tmp_path: Path) -> None:
    url, other = server.database(), tmp_path / "other"
    other.mkdir()

    def refused() -> bool:
        try:
            with alone_as("controller-7", other, url):
                return False
        except InUseError:
            return True

    with alone_as("controller-7", tmp_path, url):
        assert refused()
        server.stop()
        server.start()
        until(refused, 30.0, "the name is ours again", every_s=1.0)
    assert not refused()


def test_a_transaction_that_stands_still_ends_and_the_url_may_say_when(server: Server) -> None:
    url = server.database()
    setting = sql.text("SHOW idle_in_transaction_session_timeout")
    own = f"{url}&options=-c%20idle_in_transaction_session_timeout%3D5s"
    for place, expected in ((url, "30s"), (own, "5s")):
        engine = engine_of(place)
        with engine.connect() as connection:
            assert connection.scalar(setting) == expected
        engine.dispose()
