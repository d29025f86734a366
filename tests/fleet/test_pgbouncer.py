"""The controller's tables behind a real PgBouncer that pools transactions: the same promises as without."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sql

from agent.errors import InUseError
from agent.fleet.database import Database
from agent.fleet.instance import alone_as
from agent.fleet.rollout_rules import Standing
from agent.fleet.rollout_store import RolloutStore
from tests.fleet.rollout_world import (
    PLAN,
    WAVES,
    World,
    begun,
    claimed_at_once,
    registries_at_once,
    signed,
)
from tests.parts.postgresql import Server, pgbouncer

CONTROLLERS = 4
NAME = "controller-7"
Pooled = Callable[[str], str]


@pytest.fixture
def pooled(server: Server) -> Iterator[Pooled]:
    with pgbouncer(server) as through:
        yield through


def test_each_transaction_may_have_another_connection_and_no_statement_minds(
    server: Server, pooled: Pooled
) -> None:
    database = Database(pooled(server.database()))
    pid = sql.select(sql.func.pg_backend_pid().label("pid"), sql.func.pg_sleep(0.01))
    # psycopg would prepare what it was asked five times, on a connection that the next transaction does not have.
    with ThreadPoolExecutor(CONTROLLERS) as pool:
        pids = set(pool.map(lambda _: database.rows(pid)[0]["pid"], range(40)))
    database.close()
    assert len(pids) > 1


def test_controllers_may_start_at_once_on_an_empty_database(server: Server, pooled: Pooled) -> None:
    url = pooled(server.database())
    for registry in registries_at_once(url, CONTROLLERS):
        assert registry.devices() == []
        registry.close()


@pytest.mark.parametrize("good", [True, False])
def test_a_roll_out_is_carried_out(
    server: Server, pooled: Pooled, tmp_path: Path, *, good: bool
) -> None:
    store, world = begun(pooled(server.database()), signed(tmp_path)), World(good=good)
    world.tell_states()
    run = world.runner(store)
    for _ in range(8):
        run.step()
        world.live()
    assert store.rollout(PLAN.name).standing is (Standing.DONE if good else Standing.HALTED)
    assert set(world.taken) == (set(WAVES) if good else {"cam-1"})
    store.close()


def test_several_controllers_ask_each_device_once(
    server: Server, pooled: Pooled, tmp_path: Path
) -> None:
    url = server.database()
    stores = [begun(url, signed(tmp_path)), *(RolloutStore(pooled(url)) for _ in range(3))]
    assert sorted(claimed_at_once(stores)) == sorted(WAVES)
    for store in stores:
        store.close()


def test_a_name_is_one_processs_at_a_time_whoever_of_them_goes_through_the_pooler(
    server: Server, pooled: Pooled, tmp_path: Path
) -> None:
    url, other = server.database(), tmp_path / "other"
    other.mkdir()
    with alone_as(NAME, tmp_path, pooled(url)):
        for place in (pooled(url), url) * 3:
            with pytest.raises(InUseError), alone_as(NAME, other, place):
                pass
    for place in (pooled(url), url):
        with alone_as(NAME, other, place):
            pass
