"""The ledger: which commands were admitted, and a hash-chained record of what happened.

- `admit` writes counter, command id and audit row in one synchronous transaction (SQLite WAL,
  synchronous=FULL) before the command runs: at most once, also across power cuts.
- A ledger that was put back from an older copy is noticed by the counters kept beside it (`agent.trust.counter_copy`):
  it takes them over, writes a row, and refuses what it admitted before.
- Audit rows are hash-chained (`agent.trust.audit`); the head goes out in the state message, so that even a
  ledger cut and re-chained on the device is noticed by the controller.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent.errors import StorageError, TrustError
from agent.host.clock import wall_ms
from agent.schema.messages import ReplyStatus
from agent.trust.audit import GENESIS, AuditRow, Trail, chained, check_chain
from agent.trust.counter_copy import CounterCopy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from agent.trust.policy import Authorised

_SCHEMA = """
create table if not exists counters (iss text primary key, counter integer not null) without rowid;
create table if not exists commands (
    id text primary key, iss text not null, cmd text not null, status text not null,
    code text not null, at_ms integer not null
) without rowid;
create table if not exists audit (
    number integer primary key, at_ms integer not null, kind text not null, text text not null,
    hash text not null
);
create table if not exists head (one integer primary key check (one = 1), number integer, hash text);
"""
_OPEN = (ReplyStatus.ACCEPTED.value, ReplyStatus.RUNNING.value)


@dataclass(frozen=True)
class Unfinished:
    """A command that was admitted and whose end was never recorded."""

    id: str
    iss: str
    cmd: str


class Ledger:
    """Commands and audit rows in one SQLite file (mode 0600); safe to use from several threads.

    Every method raises `StorageError` when the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        with self._storage_errors():
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            try:
                self._db.execute("pragma journal_mode = wal")
                self._db.execute("pragma synchronous = full")
                self._db.executescript(_SCHEMA)
            except sqlite3.Error:
                self._db.close()
                raise
        self._copy = CounterCopy(path.with_suffix(".counters"))
        self._catch_up()

    def last_counter(self, iss: str) -> int:
        """Return the greatest counter admitted from an issuer, 0 for an unknown one."""
        row = self._one("select counter from counters where iss = ?", iss)
        return int(row[0]) if row else 0

    def seen(self, command_id: str) -> bool:
        """Say whether a command with this id was admitted before."""
        return self._one("select 1 from commands where id = ?", command_id) is not None

    def admit(self, authorised: Authorised, now_ms: int) -> None:
        """Record a command durably before it runs.

        Raises:
            TrustError: Another thread admitted its id or a later counter meanwhile (`trust.counter`).
        """
        body = authorised.body
        names = ", ".join(authorised.approvers)
        with self._transaction():
            if body.ctr <= self.last_counter(body.iss) or self.seen(body.id):
                raise TrustError(f"command {body.id!r} was admitted before", code="trust.counter")
            self._db.execute("insert or replace into counters values (?, ?)", (body.iss, body.ctr))
            values = (
                body.id,
                body.iss,
                body.cmd,
                ReplyStatus.ACCEPTED.value,
                "",
                now_ms,
            )
            self._db.execute("insert into commands values (?, ?, ?, ?, ?, ?)", values)
            text = f"{body.id} {body.cmd} for {body.aud!r}, counter {body.ctr}, signed by {names}"
            self._append("admitted", text, now_ms)
        self._copy.write(self._counters())

    def refuse(self, code: str, reason: str, now_ms: int) -> None:
        """Record that something was refused, and why."""
        with self._transaction():
            self._append("refused", f"{code}: {reason}", now_ms)

    def finish(self, command_id: str, status: ReplyStatus, code: str, now_ms: int) -> None:
        """Record how an admitted command stands or ended; `code` is empty unless it failed."""
        with self._transaction():
            values = (status.value, code, command_id)
            self._db.execute("update commands set status = ?, code = ? where id = ?", values)
            self._append(status.value, f"{command_id} {code}".rstrip(), now_ms)

    def unfinished(self) -> list[Unfinished]:
        """Return the commands that a previous life left open, oldest first."""
        sql = "select id, iss, cmd from commands where status in (?, ?) order by at_ms, id"
        return [Unfinished(*row) for row in self._all(sql, *_OPEN)]

    def record(self, kind: str, text: str, now_ms: int | None = None) -> None:
        """Append an audit row, for example `update` or `policy`."""
        with self._transaction():
            self._append(kind, text, wall_ms() if now_ms is None else now_ms)

    def record_once(self, kind: str, text: str, at_ms: int) -> None:
        """Append a row for what happened at `at_ms`, unless it is there: whoever was cut off may tell it again."""
        sql = "select 1 from audit where (kind, text, at_ms) = (?, ?, ?)"
        with self._transaction():
            if self._one(sql, kind, _storable(text), at_ms) is None:
                self._append(kind, text, at_ms)

    def rows(self, newest: int = 100) -> list[AuditRow]:
        """Return the `newest` audit rows in the order they were written."""
        sql = "select number, at_ms, kind, text, hash from audit order by number desc limit ?"
        return [AuditRow(*row) for row in reversed(self._all(sql, newest))]

    @property
    def head(self) -> str:
        """Return the hash of the newest row, 64 hexadecimal digits."""
        return self._head()[1]

    def verify(self) -> None:
        """Check the whole chain.

        Raises:
            TrustError: `trust.audit`, naming the first row that was edited, removed or cut off.
        """
        with self._lock:
            rows = self._all("select number, at_ms, kind, text, hash from audit order by number")
            _, head = self._head()
        check_chain(Trail([AuditRow(*values) for values in rows], head))

    def close(self) -> None:
        """Close the file; nothing may be called afterwards."""
        with self._lock:
            self._db.close()

    def _catch_up(self) -> None:
        """Take over what the copy knows better: then the ledger is older than what was admitted here."""
        counters = self._counters()
        copied = self._copy.read()
        behind = {iss: ctr for iss, ctr in copied.items() if ctr > counters.get(iss, 0)}
        if behind:
            steps = ", ".join(
                f"{iss} {counters.get(iss, 0)} -> {ctr}" for iss, ctr in behind.items()
            )
            with self._transaction():
                self._db.executemany(
                    "insert or replace into counters values (?, ?)", behind.items()
                )
                self._append(
                    "ledger", f"was put back from an older copy; counters {steps}", wall_ms()
                )
        if copied != {**counters, **behind}:
            self._copy.write({**counters, **behind})

    def _counters(self) -> dict[str, int]:
        return dict(self._all("select iss, counter from counters"))

    def _head(self) -> tuple[int, str]:
        row = self._one("select number, hash from head")
        return (int(row[0]), str(row[1])) if row else (0, GENESIS)

    def _append(self, kind: str, text: str, at_ms: int) -> None:
        number, last = self._head()
        clean = _storable(text)
        row = AuditRow(number + 1, at_ms, kind, clean, "")
        values = (row.number, at_ms, kind, clean, chained(last, row))
        self._db.execute("insert into audit values (?, ?, ?, ?, ?)", values)
        self._db.execute("insert or replace into head values (1, ?, ?)", (values[0], values[4]))

    def _one(self, sql: str, *values: object) -> tuple[Any, ...] | None:
        rows = self._all(sql, *values)
        return rows[0] if rows else None

    def _all(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        with self._lock, self._storage_errors():
            return self._db.execute(sql, values).fetchall()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock, self._storage_errors():
            self._db.execute("begin immediate")
            try:
                yield
                self._db.execute("commit")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("rollback")
                raise

    @contextlib.contextmanager
    def _storage_errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            code = "storage.full" if "full" in str(error) else "storage.failed"
            raise StorageError(
                f"{self._path}: {error}", code=code, hint="check the disk"
            ) from error


def _storable(text: str) -> str:
    """Return text that may quote hostile input as SQLite can store it: without lone surrogates."""
    return text.encode("utf-8", "backslashreplace").decode()
