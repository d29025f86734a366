"""A controller's tables as the first version left them, with a roll-out under way; and a process that dies over them."""

from __future__ import annotations

import itertools
import os
import signal
import sys
from pathlib import Path
from typing import Any

import sqlalchemy as sql
from alembic import command

from agent.fleet.database_place import alone, engine_of
from agent.fleet.database_upgrade import _config, upgrade
from agent.fleet.registry import DeviceRecord, Registry
from agent.fleet.tables import META, VERSION_TABLE
from tests.fleet.rollout_world import World, begun, signed

FIRST = "0001"


def make_old(place: Path | str, folder: Path, world: World) -> None:
    """Make tables of the first version at `place`: a device, and a roll-out whose first wave has just been asked."""
    beside = folder / "made.db"
    registry = Registry(beside)
    registry.put_device(
        DeviceRecord("cam-1", "gate", ("north",), b"\x04" * 65, "1f", enrolled_ms=5)
    )
    registry.put_release_key("gate/people/1.0", bytes(range(32)))
    registry.close()
    store = begun(beside, signed(folder))
    world.runner(store).step()
    assert set(world.taken) == {"cam-1"}
    store.close()
    source, target = engine_of(beside), engine_of(place)
    with source.connect() as made, alone(target) as connection:
        command.upgrade(_config(connection), FIRST)
        there = sql.inspect(connection).get_table_names()
        for table in META.sorted_tables:
            rows = [dict(row) for row in made.execute(sql.select(table)).mappings()]
            if table.name in there and rows:
                connection.execute(sql.insert(table), rows)
    source.dispose()
    target.dispose()


def content(place: Path | str) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table that is there, with the version."""
    engine = engine_of(place)
    with engine.connect() as connection:
        names = sorted(sql.inspect(connection).get_table_names())
        found = {name: _rows(connection, name) for name in names}
    engine.dispose()
    return found


def _rows(connection: sql.Connection, table: str) -> list[tuple[Any, ...]]:
    query: sql.Select[Any] = sql.select(sql.literal_column("*")).select_from(sql.table(table))
    return sorted((tuple(row) for row in connection.execute(query)), key=repr)


def execute(place: Path | str, statement: str) -> None:
    """Change something as no controller would."""
    engine = engine_of(place)
    with engine.begin() as connection:
        connection.execute(sql.text(statement))
    engine.dispose()


def set_version(place: Path | str, version: str) -> None:
    """Say that the tables are of another version."""
    execute(place, f"UPDATE {VERSION_TABLE} SET version_num = '{version}'")  # noqa: S608


def die_at_every_statement(place: Path | str) -> int:
    """Upgrade the place in processes of which each is killed one statement later, until one lives; return how many died."""
    before = content(place)
    for statements in itertools.count(1):
        child = os.fork()
        if child == 0:
            _die_after(statements)
            upgrade(place)
            os._exit(0)
        if not os.WIFSIGNALED(os.waitpid(child, 0)[1]):
            return statements - 1
        assert content(place) == before, f"death after {statements} statements"
    raise AssertionError


def _die_after(statements: int) -> None:
    left = iter(range(statements - 1, -1, -1))

    @sql.event.listens_for(sql.Engine, "after_cursor_execute")
    def count(*_: object) -> None:
        if next(left) == 0:
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    named = sys.argv[1]
    sys.stdout.write(str(die_at_every_statement(named if "://" in named else Path(named))))
