"""Where the controller keeps its tables: a SQLite file (mode 0600), or a server by URL."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sql
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from agent.errors import ConfigError, StorageError
from agent.fleet.tables import META

_BUSY_S = 10


class Database:
    """The tables; safe to use from several threads and processes.

    Args:
        place: A file, which is made where it is missing, or a URL such as `postgresql+psycopg://host/fleet`.

    Raises:
        ConfigError: The URL cannot be used here.
        StorageError: The file or server cannot be used, or is no registry; so do all transactions.
    """

    def __init__(self, place: Path | str) -> None:
        self._engine = _engine(place)
        self._name = str(place) if isinstance(place, Path) else self._engine.url.render_as_string()
        if isinstance(place, Path):
            self._make_private(place)
        try:
            self._make_tables()
        except StorageError:
            # Another controller that started at the same moment made them first; a real fault comes again.
            self._make_tables()

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sql.Connection]:
        """Do everything in the block, or nothing of it."""
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise self._fault(error) from error

    def change(self, statement: sql.Update | sql.Delete | sql.Insert) -> int:
        """Execute one change; return how many rows it touched."""
        with self.transaction() as connection:
            return int(connection.execute(statement).rowcount)

    def rows(self, query: sql.Select[Any]) -> list[sql.RowMapping]:
        """Return what a query finds, each row by the names of its columns."""
        with self.transaction() as connection:
            return list(connection.execute(query).mappings())

    def _make_tables(self) -> None:
        with self.transaction() as connection:
            META.create_all(connection)

    def _make_private(self, path: Path) -> None:
        try:
            path.touch(mode=0o600)
        except OSError as error:
            raise self._fault(error) from error

    def _fault(self, error: Exception) -> StorageError:
        hint = "check the disk, or the database server"
        return StorageError(f"{self._name}: {error}", hint=hint)


def _engine(place: Path | str) -> sql.Engine:
    if isinstance(place, Path):
        engine = sql.create_engine(f"sqlite:///{place}", connect_args={"timeout": _BUSY_S})
        sql.event.listen(engine, "connect", _make_durable)
        return engine
    try:
        return sql.create_engine(place, pool_pre_ping=True)
    except (ArgumentError, ImportError) as error:
        hint = "expected postgresql+psycopg://HOST/DATABASE, and the extra `postgres` installed"
        raise ConfigError(f"database: {error}", hint=hint) from error


def _make_durable(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
