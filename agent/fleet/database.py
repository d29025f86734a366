"""The controller's tables, opened: a SQLite file (mode 0600), or a server by URL."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sql
from sqlalchemy.exc import SQLAlchemyError

from agent.fleet.database_place import engine_of, fault
from agent.fleet.tables import SCHEMA, schema_of


class Database:
    """The tables; safe to use from several threads and processes.

    Args:
        place: A file, which is made where it is missing, or a URL such as `postgresql+psycopg://host/fleet`.

    Raises:
        ConfigError: The URL cannot be used here, or the tables are of another version (`fleet.database_older`,
            `fleet.database_newer`).
        StorageError: The file or server cannot be used, or is no registry; so do all transactions.
    """

    def __init__(self, place: Path | str) -> None:
        self._engine = engine_of(place)
        self._place = place
        with self.transaction() as connection:
            found = schema_of(connection)
        if found != SCHEMA:
            from agent.fleet.database_upgrade import make_tables

            make_tables(place)

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
            raise fault(self._place, error) from error

    def change(self, statement: sql.Update | sql.Delete | sql.Insert) -> int:
        """Execute one change; return how many rows it touched."""
        with self.transaction() as connection:
            return int(connection.execute(statement).rowcount)

    def rows(self, query: sql.Select[Any]) -> list[sql.RowMapping]:
        """Return what a query finds, each row by the names of its columns."""
        with self.transaction() as connection:
            return list(connection.execute(query).mappings())
