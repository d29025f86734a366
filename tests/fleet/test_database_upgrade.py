"""Older tables are brought to the present version, whole or not at all, and a roll-out under way goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from agent.errors import ConfigError, StorageError
from agent.fleet.database_place import alone, engine_of
from agent.fleet.database_upgrade import Upgrade, _config, look, upgrade
from agent.fleet.history import history
from agent.fleet.home import FLEET_SCHEMA, FleetConfig, create_home
from agent.fleet.registry import Registry
from agent.fleet.rollout_rules import Standing
from agent.fleet.rollout_store import RolloutStore
from agent.fleet.tables import META, SCHEMA, VERSION_TABLE
from tests.fleet.old_database import FIRST, content, execute, make_old, set_version
from tests.fleet.rollout_world import PLAN, WAVES, World
from tests.fleet.workshop import run

ROOT = Path(__file__).resolve().parents[2]
Place: TypeAlias = Path | str
NewPlace = Callable[[], Place]


@pytest.fixture(params=["sqlite", "postgresql"])
def new_place(request: pytest.FixtureRequest, tmp_path: Path) -> NewPlace:
    """Give a place for tables that nobody has used, as often as asked."""
    if request.param == "postgresql":
        made: NewPlace = request.getfixturevalue("server").database
        return made
    numbers = iter(range(1000))
    return lambda: tmp_path / f"fleet-{next(numbers)}.db"


@pytest.fixture
def world() -> World:
    world = World()
    world.tell_states()
    return world


@pytest.fixture
def old(new_place: NewPlace, tmp_path: Path, world: World) -> Place:
    place = new_place()
    make_old(place, tmp_path, world)
    return place


def test_the_scripts_make_exactly_the_tables(new_place: NewPlace) -> None:
    place = new_place()
    Registry(place).close()
    engine = engine_of(place)
    with alone(engine) as connection:
        scripts = ScriptDirectory.from_config(_config(connection))
        assert scripts.get_heads() == [SCHEMA]
        told = {"version_table": VERSION_TABLE, "compare_server_default": True}
        context = MigrationContext.configure(connection, opts=told)
        assert compare_metadata(context, META) == []
    engine.dispose()


def test_a_roll_out_under_way_goes_on_after_an_upgrade(old: Place, world: World) -> None:
    done = upgrade(old)
    assert done.found == FIRST
    store = RolloutStore(old)
    runner = world.runner(store)
    asked = dict(world.taken)
    for _ in range(8):
        runner.step()
        world.live()
    assert store.rollout(PLAN.name).standing is Standing.DONE
    assert set(world.taken) == set(WAVES)
    assert asked.items() <= world.taken.items(), "who was asked is not asked for something else"
    store.close()
    registry = Registry(old)
    assert registry.release_key("gate/people/1.0") == bytes(range(32))
    registry.close()
    assert "roll-out done" in [one.what for one in history(old)]


def test_a_file_is_copied_before_it_is_changed(tmp_path: Path, world: World) -> None:
    file = tmp_path / "fleet.db"
    make_old(file, tmp_path, world)
    before = content(file)
    copy = upgrade(file).backup
    assert copy == tmp_path / f"fleet.db.{FIRST}"
    assert content(copy) == before
    assert copy.stat().st_mode & 0o777 == 0o600
    # People put it back by giving it the old name; the way forward is the same then.
    assert upgrade(copy).found == FIRST


def test_without_room_for_the_copy_nothing_is_changed(tmp_path: Path, world: World) -> None:
    file = tmp_path / "fleet.db"
    make_old(file, tmp_path, world)
    before = content(file)
    (tmp_path / f"fleet.db.{FIRST}").mkdir()
    with pytest.raises(StorageError):
        upgrade(file)
    assert content(file) == before


def test_who_only_looks_upgrades_nothing(old: Place) -> None:
    before = content(old)
    for opened in (Registry, RolloutStore):
        with pytest.raises(ConfigError, match=f"of version {FIRST}") as refused:
            opened(old)
        assert "vigil fleet database" in refused.value.hint
    assert look(old) == Upgrade(FIRST)
    assert content(old) == before


def test_tables_from_before_there_were_versions_are_taken_over(old: Place) -> None:
    execute(old, f"DROP TABLE {VERSION_TABLE}")
    execute(old, "DROP TABLE spent_tokens")  # the first controllers had none
    before = content(old)
    with pytest.raises(ConfigError, match="of version unversioned"):
        Registry(old)
    upgrade(old)
    after = content(old)
    assert after[VERSION_TABLE] == [(SCHEMA,)]
    assert {name: after[name] for name in before} == before
    Registry(old).close()


def test_tables_of_somebody_else_are_left_alone(new_place: NewPlace) -> None:
    place = new_place()
    execute(place, "CREATE TABLE devices (id VARCHAR, color VARCHAR)")
    before = content(place)
    with pytest.raises(ConfigError, match="table devices is no controller's"):
        upgrade(place)
    assert content(place) == before


def test_a_newer_version_is_refused_and_left_as_it_is(old: Place) -> None:
    upgrade(old)
    set_version(old, "9999")
    before = content(old)
    for attempt in (Registry, RolloutStore, history, upgrade):
        with pytest.raises(
            ConfigError, match=f"version 9999, this Vigil knows {SCHEMA}"
        ) as refused:
            attempt(old)
        assert refused.value.code == "fleet.database_newer"
    assert content(old) == before


def test_of_several_that_start_at_once_one_upgrades(old: Place) -> None:
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(upgrade, [old] * 4))
    assert sorted(one.found for one in done) == [FIRST, SCHEMA, SCHEMA, SCHEMA]
    Registry(old).close()


def test_people_are_told_the_version_and_upgrade_by_command(tmp_path: Path) -> None:
    home = tmp_path / "home"
    config = FleetConfig(schema=FLEET_SCHEMA, broker_host="localhost", broker_port=1, repository="")
    create_home(home, config).registry.close()
    file = home / "fleet.db"
    execute(file, "DROP TABLE rollout_moves")
    set_version(file, FIRST)
    with pytest.raises(ConfigError, match=f"of version {FIRST}"):
        run(f"fleet devices {home}")
    assert f"tables of version {FIRST}, this Vigil's are {SCHEMA}" in run(f"fleet database {home}")
    told = json.loads(run(f"fleet database {home} --upgrade --json"))
    assert told == {
        "database": str(file),
        "found": FIRST,
        "version": SCHEMA,
        "wanted": SCHEMA,
        "backup": f"{file}.{FIRST}",
    }
    assert run(f"fleet devices {home} --json") == "[]\n"


def test_a_process_killed_at_any_statement_changes_nothing(old: Place) -> None:
    before = content(old)
    command = [sys.executable, "-m", "tests.fleet.old_database", str(old)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    # The lock, the copy of a file, the table, the version, and looks in between.
    assert int(ended.stdout) > 5, ended.stderr
    after = content(old)
    assert after.pop(VERSION_TABLE) == [(SCHEMA,)]
    assert after.pop("rollout_moves") == []
    del before[VERSION_TABLE]
    assert after == before
