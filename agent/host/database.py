"""SQLite files that survive: opened with their schema, set aside where they are damaged."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from typing import TYPE_CHECKING

from agent.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

logger = logging.getLogger(__name__)


def open_database(path: Path, schema: Sequence[str]) -> sqlite3.Connection:
    """Open the file; one that is no database any more is kept as `….damaged` and begun anew.

    Any thread may use the connection, one at a time; every statement is its own transaction unless one is begun.

    Raises:
        sqlite3.Error, OSError: It cannot be opened or created.
    """
    try:
        return _connect(path, schema)
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        logger.error("%s: %s; what it held is lost, it is kept as .damaged", path, error)
        path.replace(path.with_name(f"{path.name}.damaged"))
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        return _connect(path, schema)


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Let faults of the database `path` and its file system be `StorageError`s."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        code = "storage.full" if "full" in str(error) else "storage.failed"
        message = f"{path}: {error}"
        raise StorageError(message, code=code, hint="free or check the disk") from error


@contextlib.contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """Do all of the block or, when it raises, nothing."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            database.execute("ROLLBACK")
        raise


def _connect(path: Path, schema: Sequence[str]) -> sqlite3.Connection:
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        for statement in schema:
            database.execute(statement)
    except sqlite3.Error:
        database.close()
        raise
    return database
