"""One process at a time runs under one of the controllers' names.

The broker lets each name in once: two processes of one name would throw each other out for ever. Among machines a lock in
PostgreSQL sees to it, which belongs to a connection. A machine that is cut off loses it after ten seconds, see
`agent.fleet.database_place`, so that another may take its place; the one that comes back takes its name again, or ends where
somebody else has it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sql
from sqlalchemy.exc import SQLAlchemyError

from agent.errors import ConfigError, InUseError, StorageError
from agent.fleet.database_place import engine_of, fault

log = logging.getLogger(__name__)
_LOOK_S = 5.0
_PATIENCE_S = 15.0  # by then PostgreSQL has given up the connection that we lost


@contextlib.contextmanager
def alone_as(name: str, folder: Path, place: Path | str) -> Iterator[None]:
    """Have a name until the block ends: among those that use the folder, and those that use the same PostgreSQL.

    Raises:
        ConfigError: The folder cannot be written.
        InUseError: Another process has the name (`fleet.instance`).
        StorageError: The database cannot be used.
    """
    with _locked_file(folder / f"{name}.lock", name), _locked_database(place, name):
        yield


@contextlib.contextmanager
def _locked_file(path: Path, name: str) -> Iterator[None]:
    try:
        file = path.open("a")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _taken(name) from error
        yield


@contextlib.contextmanager
def _locked_database(place: Path | str, name: str) -> Iterator[None]:
    if isinstance(place, Path):
        yield
        return
    lock = _Lock(place, name)
    try:
        if not lock.held():
            raise _taken(name)
        with _watched(lock, name):
            yield
    finally:
        lock.close()


class _Lock:
    """A lock on a name in PostgreSQL; it ends with our connection and with the process, however that ends.

    It belongs to a transaction that stays open: a pooler between us gives each transaction, but no client, a connection of
    its own.
    """

    def __init__(self, place: str, name: str) -> None:
        number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
        self._take = sql.select(sql.func.pg_try_advisory_xact_lock(number))
        self._place = place
        self._engine = engine_of(place)
        self._connection: sql.Connection | None = None
        self._held = False

    def held(self) -> bool:
        """Return whether the lock is ours, after taking it where it is free.

        Raises:
            StorageError: The connection is lost, and with it the lock; the next time makes a new one.
        """
        ask = sql.select(sql.true()) if self._held else self._take
        self._held = False
        try:
            self._connection = self._connection or self._engine.connect()
            self._held = bool(self._connection.scalar(ask))
        except SQLAlchemyError as error:
            self._let_go()
            raise fault(self._place, error) from error
        if not self._held:
            self._let_go()
        return self._held

    def close(self) -> None:
        """Let the lock go."""
        self._let_go()
        self._engine.dispose()

    def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


@contextlib.contextmanager
def _watched(lock: _Lock, name: str) -> Iterator[None]:
    """Look after a lock in a thread until the block ends, which a signal is to end when somebody else has the name."""
    stop, lost = threading.Event(), threading.Event()

    def watch() -> None:
        if not _keep(lock, name, stop):
            lost.set()
            os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=watch, name="vigil-name")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    if lost.is_set():
        raise _taken(name)


def _keep(lock: _Lock, name: str, stop: threading.Event) -> bool:
    """Hold a lock until told to stop; return whether we had it, or nobody could tell, all the time but for our patience."""
    good_s = time.monotonic()
    while not stop.wait(_LOOK_S):
        try:
            good = lock.held()
        except StorageError as error:
            log.warning("the name %s is not held: %s", name, error)
            good = True
        if good:
            good_s = time.monotonic()
        elif time.monotonic() - good_s > _PATIENCE_S:
            return False
    return True


def _taken(name: str) -> InUseError:
    message = f"a controller runs already under the name {name}"
    hint = "give each of several a number of its own: vigil fleet serve HOME --instance 1"
    return InUseError(message, code="fleet.instance", hint=hint)
