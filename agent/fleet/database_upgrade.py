"""Brings the controller's tables to the version of this program, whole or not at all; one controller at a time.

A file is copied before it is changed. A version that is newer than this program is left alone: a program that does not know
a table's rules would break them. The scripts are in `agent.fleet.migrations`.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sql
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.exc import SQLAlchemyError

from agent.errors import ConfigError
from agent.fleet.database_place import alone, engine_of, fault, name_of
from agent.fleet.tables import DEVICES, META, SCHEMA, schema_of
from agent.host.disk import REAL_DISK

_SCRIPTS = "agent.fleet:migrations"
_PATIENCE_S = 600.0  # for a controller that upgrades a large file
_ONE = threading.Lock()  # Alembic's scripts speak through variables of the module
_UNVERSIONED = "unversioned"  # tables from before there were versions


@dataclass(frozen=True)
class Upgrade:
    """What was found at a place, and done.

    Attributes:
        found: Version of the tables, empty where there were none; `unversioned` for those of an old controller.
        backup: Copy of the file as it was before, with the model keys in it; None where nothing was changed, or no file is.
    """

    found: str
    backup: Path | None = None

    @property
    def outdated(self) -> bool:
        """Whether there were tables of an older version."""
        return self.found not in {"", SCHEMA}


def make_tables(place: Path | str) -> None:
    """Make the tables where there are none.

    Raises:
        ConfigError: There are some, of an older or a newer version (`fleet.database_older`, `fleet.database_newer`).
        StorageError: The place cannot be used.
    """
    found = _bring(place, upgrade=False)
    if found.outdated:
        raise _older(place, found.found)


def look(place: Path | str) -> Upgrade:
    """Return what is at a place, and change nothing.

    Raises:
        StorageError: The place cannot be used.
    """
    engine = engine_of(place)
    try:
        with engine.connect() as connection:
            return Upgrade(_found(connection))
    except SQLAlchemyError as error:
        raise fault(place, error) from error
    finally:
        engine.dispose()


def upgrade(place: Path | str) -> Upgrade:
    """Bring the tables to this program's version; another controller that does it at this moment is waited for.

    Raises:
        ConfigError: They are of a newer version, or no tables of a controller.
        StorageError: The place cannot be used, or there is no room for the copy.
    """
    return _bring(place, upgrade=True)


def _bring(place: Path | str, *, upgrade: bool) -> Upgrade:
    engine = engine_of(place, _PATIENCE_S)
    try:
        with alone(engine) as connection:
            found = _found(connection)
            if found == SCHEMA:
                return Upgrade(found)
            config = _config(connection)
            _refuse_newer(place, config, found)
            if found and not upgrade:
                return Upgrade(found)
            backup = _back_up(engine, place, found) if found and isinstance(place, Path) else None
            with _ONE:
                command.upgrade(config, "head")
            _refuse_foreign(place, connection)
            return Upgrade(found, backup)
    except SQLAlchemyError as error:
        raise fault(place, error) from error
    finally:
        engine.dispose()


def _found(connection: sql.Connection) -> str:
    unversioned = _UNVERSIONED if sql.inspect(connection).has_table(DEVICES.name) else ""
    return schema_of(connection) or unversioned


def _config(connection: sql.Connection) -> Config:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", _SCRIPTS)
    return config


def _back_up(engine: sql.Engine, file: Path, version: str) -> Path:
    """Copy the file as it is, whole and durable, for its owner alone; an older copy of this version is replaced."""
    target = file.with_name(f"{file.name}.{version}")
    part = file.with_name(f"{target.name}.part")
    REAL_DISK.remove(part)
    REAL_DISK.open_part(
        part
    ).close()  # SQLite writes into an empty file of ours: its own would be for all to read
    with engine.connect() as beside:
        beside.execution_options(isolation_level="AUTOCOMMIT")
        beside.exec_driver_sql("VACUUM INTO ?", (str(part),))
    copy = REAL_DISK.open_part(part)
    copy.sync()
    copy.close()
    REAL_DISK.rename(part, target)
    return target


def _refuse_newer(place: Path | str, config: Config, found: str) -> None:
    known = {one.revision for one in ScriptDirectory.from_config(config).walk_revisions()}
    if found not in known | {"", _UNVERSIONED}:
        message = f"{name_of(place)}: its tables are of version {found}, this Vigil knows {SCHEMA}"
        hint = "a newer Vigil made them: install that one again, or put back the copy from before"
        raise ConfigError(message, code="fleet.database_newer", hint=hint)


def _refuse_foreign(place: Path | str, connection: sql.Connection) -> None:
    """Look whether tables that were there before are what they are named."""
    there = sql.inspect(connection)
    for table in META.sorted_tables:
        missing = {one.name for one in table.columns}
        missing -= {one["name"] for one in there.get_columns(table.name)}
        if missing:
            message = f"{name_of(place)}: table {table.name} is no controller's: it lacks {', '.join(sorted(missing))}"
            raise ConfigError(message, hint="give the controller a database of its own")


def _older(place: Path | str, found: str) -> ConfigError:
    message = f"{name_of(place)}: its tables are of version {found}, this Vigil needs {SCHEMA}"
    hint = "run `vigil fleet database HOME --upgrade`, or `vigil fleet serve`, which does it too"
    return ConfigError(message, code="fleet.database_older", hint=hint)
