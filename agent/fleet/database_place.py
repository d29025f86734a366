"""Where the controller's tables are: a SQLite file, or a server by URL; and how one controller has them for itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sql
from sqlalchemy.exc import ArgumentError

from agent.errors import ConfigError, StorageError

_BUSY_S = 10
_LOCK = int.from_bytes(b"vigil", "big")  # the number of our advisory lock on PostgreSQL

# A network that drops packets tells nobody: both ends give a connection up whose other end was silent for ten seconds.
# The kernel would wait a quarter of an hour, or two hours where nothing is on its way, and PostgreSQL would keep the
# locks of who is gone for as long.
_SILENT_S = 10
_ASK_S = _SILENT_S // 2
_IDLE_S = 30  # a transaction whose owner hangs between two statements, while its machine answers
_SERVER = {
    "tcp_user_timeout": _SILENT_S * 1000,
    "tcp_keepalives_idle": _ASK_S,
    "tcp_keepalives_interval": _ASK_S,
    "idle_in_transaction_session_timeout": _IDLE_S * 1000,
}
# https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
_CLIENT = {
    "connect_timeout": str(_SILENT_S),
    "tcp_user_timeout": str(_SILENT_S * 1000),
    "keepalives_idle": str(_ASK_S),
    "keepalives_interval": str(_ASK_S),
    "options": " ".join(f"-c {name}={value}" for name, value in _SERVER.items()),
}


def engine_of(place: Path | str, busy_s: float = _BUSY_S) -> sql.Engine:
    """Return the connections to a place: a file (made where it is missing) waits at most `busy_s` for other writers.

    Those to a server end ten seconds after the other side went silent, unless the URL has other settings for it.

    Raises:
        ConfigError: The URL cannot be used here.
        StorageError: The file cannot be made.
    """
    if isinstance(place, Path):
        try:
            place.touch(mode=0o600)
        except OSError as error:
            raise fault(place, error) from error
        engine = sql.create_engine(f"sqlite:///{place}", connect_args={"timeout": busy_s})
        sql.event.listen(engine, "connect", _make_durable)
        return engine
    try:
        url = sql.make_url(place)
        if url.get_backend_name() == "postgresql":
            url = url.set(query={**_CLIENT, **url.query})
        return sql.create_engine(url, pool_pre_ping=True, connect_args=_arguments(url))
    except (ArgumentError, ImportError) as error:
        hint = "expected postgresql+psycopg://HOST/DATABASE, and the extra `postgres` installed"
        raise ConfigError(f"database: {error}", hint=hint) from error


def _arguments(url: sql.URL) -> dict[str, Any]:
    # A statement that psycopg prepares is one connection's, and a pooler gives the next transaction another.
    return {"prepare_threshold": None} if url.get_driver_name() == "psycopg" else {}


def name_of(place: Path | str) -> str:
    """Return a place as people may read it, without a password."""
    return str(place) if isinstance(place, Path) else sql.make_url(place).render_as_string()


def fault(place: Path | str, error: Exception) -> StorageError:
    """Return what a place that cannot be used is reported as."""
    hint = "check the disk, or the database server"
    # SQLAlchemy's own text has further lines: the statement, and a page about the error.
    said = str(getattr(error, "orig", None) or error).partition("\n")[0]
    return StorageError(f"{name_of(place)}: {said}", hint=hint)


@contextlib.contextmanager
def alone(engine: sql.Engine) -> Iterator[sql.Connection]:
    """Do everything in the block, changes of tables too, or nothing of it, while every other controller that asks waits."""
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            # Python's module would commit before it changes a table: the transaction is begun by hand.
            connection.execution_options(isolation_level="AUTOCOMMIT")
            with connection.begin():
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                yield connection
        else:
            with connection.begin():
                connection.execute(sql.select(sql.func.pg_advisory_xact_lock(_LOCK)))
                yield connection


def _make_durable(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
