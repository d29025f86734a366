"""The spool file: waiting messages in SQLite (WAL, synchronous=FULL), within bounds of bytes and age."""

from __future__ import annotations

import contextlib
import enum
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.host.clock import steady_ms
from agent.host.database import open_database, storage_errors, transaction
from agent.host.processes import written_bytes
from agent.schema.reporting import OutboxConfig

if TYPE_CHECKING:
    from pathlib import Path

_ROW_BYTES = 64
# 2020-01-01: a board without a battery writes 1970 until its clock is set; such rows do not age.
_CLOCK_SET_MS = 1_577_836_800_000
_AGE_CHECK_S = 60.0
_SCHEMA = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA journal_size_limit = 4194304",
    (
        "CREATE TABLE IF NOT EXISTS message (id INTEGER PRIMARY KEY, priority INTEGER NOT NULL,"
        " at_ms INTEGER NOT NULL, topic TEXT NOT NULL, payload BLOB NOT NULL)"
    ),
    "CREATE INDEX IF NOT EXISTS urgency ON message (priority, id)",
    (
        "CREATE TABLE IF NOT EXISTS dropped (priority INTEGER PRIMARY KEY,"
        " messages INTEGER NOT NULL) WITHOUT ROWID"
    ),
)
_COLUMNS = "id, priority, at_ms, topic, payload"
_COST = f"length(payload) + length(CAST(topic AS BLOB)) + {_ROW_BYTES}"
_ADD_DROPPED = (
    "INSERT INTO dropped VALUES (?, ?)"
    " ON CONFLICT (priority) DO UPDATE SET messages = messages + excluded.messages"
)


class Priority(enum.IntEnum):
    """Urgency; a lower number is sent first and dropped last."""

    ALERT = 0
    EVENT = 1
    METRIC = 2


Drops = Mapping[Priority, int]


@dataclass(frozen=True)
class Spooled:
    """One message; its id gives the order within its priority."""

    id: int
    priority: Priority
    at_ms: int
    topic: str
    payload: bytes

    @property
    def cost(self) -> int:
        """Bytes that it counts for."""
        return len(self.payload) + len(self.topic.encode()) + _ROW_BYTES


@dataclass(frozen=True)
class _Row:
    id: int
    priority: Priority
    cost: int


class Spool:
    """The file; used by one thread. Every method raises `StorageError` when the disk fails, and has then done nothing.

    Attributes:
        rows: Messages on disk.
        last_id: Greatest id that was ever written.
        oldest_ms: When the oldest message on disk was put, None when there is none.
        dropped: Messages given up since the file was made, by priority.
        written_bytes: What this run made the disk write; None where the kernel does not count.
    """

    def __init__(
        self, path: Path, limits: OutboxConfig, now_ms: Callable[[], int] = steady_ms
    ) -> None:
        self._path = path
        self._now_ms = now_ms
        self._max_bytes = limits.max_mb * 1024 * 1024
        self._max_age_ms = int(limits.max_age_h * 3_600_000)
        self._age_checked_s = -_AGE_CHECK_S
        self.written_bytes: int | None = 0
        with storage_errors(self._path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = open_database(path, _SCHEMA)
            everything = list(self._select())
            counts = self._database.execute("SELECT priority, messages FROM dropped").fetchall()
            self.oldest_ms = self._oldest()
        self.dropped = Counter({Priority(priority): count for priority, count in counts})
        self.rows = len(everything)
        self.last_id = max((row.id for row in everything), default=0)
        self._bytes = sum(row.cost for row in everything)

    def read(self, count: int) -> list[Spooled]:
        """Return the `count` messages that go first."""
        with storage_errors(self._path):
            sql = f"SELECT {_COLUMNS} FROM message ORDER BY priority, id LIMIT ?"  # noqa: S608
            rows = self._database.execute(sql, (count,)).fetchall()
        return [Spooled(row[0], Priority(row[1]), *row[2:]) for row in rows]

    def write(self, fresh: Collection[Spooled], finished: Iterable[int], lost: Drops) -> None:
        """Add, delete and count in one transaction; bounds that are exceeded push messages out.

        `lost` are messages that were dropped before they came here.
        """
        with (
            self._counting_bytes(),
            storage_errors(self._path),
            transaction(self._database),
        ):
            gone = self._delete(self._finished(finished))
            values = [(one.id, one.priority, one.at_ms, one.topic, one.payload) for one in fresh]
            self._database.executemany("INSERT INTO message VALUES (?, ?, ?, ?, ?)", values)
            pushed = self._delete(self._too_old())
            used = self._bytes + sum(one.cost for one in fresh) - _cost(gone) - _cost(pushed)
            pushed += self._delete(self._too_many(used))
            dropped = Counter(row.priority for row in pushed) + Counter(lost)
            self._database.executemany(_ADD_DROPPED, dropped.items())
            self.oldest_ms = self._oldest()
        gone += pushed
        self.rows += len(fresh) - len(gone)
        self._bytes += sum(one.cost for one in fresh) - _cost(gone)
        self.last_id = max([self.last_id, *(one.id for one in fresh)])
        self.dropped.update(dropped)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _delete(self, rows: Iterable[_Row]) -> list[_Row]:
        found = list(rows)
        ids = [(row.id,) for row in found]
        self._database.executemany("DELETE FROM message WHERE id = ?", ids)
        return found

    def _select(self, tail: str = "", *values: object) -> Iterator[_Row]:
        """Yield the rows that the end of a SELECT statement names."""
        sql = f"SELECT id, priority, {_COST} FROM message {tail}"  # noqa: S608
        for row_id, priority, cost in self._database.execute(sql, values):
            yield _Row(row_id, Priority(priority), cost)

    def _finished(self, ids: Iterable[int]) -> Iterator[_Row]:
        for row_id in ids:
            yield from self._select("WHERE id = ?", row_id)

    def _too_old(self) -> Iterator[_Row]:
        now_s = time.monotonic()
        if now_s - self._age_checked_s >= _AGE_CHECK_S:
            self._age_checked_s = now_s
            oldest_ms = self._now_ms() - self._max_age_ms
            yield from self._select("WHERE at_ms >= ? AND at_ms < ?", _CLOCK_SET_MS, oldest_ms)

    def _too_many(self, used: int) -> Iterator[_Row]:
        if used <= self._max_bytes:
            return
        for priority in sorted(Priority, reverse=True):
            # One priority at a time, so that the index gives the order; else all of it would be sorted.
            for row in self._select("WHERE priority = ? ORDER BY id", priority):
                if used <= self._max_bytes:
                    return
                used -= row.cost
                yield row

    def _oldest(self) -> int | None:
        found = self._database.execute("SELECT at_ms FROM message ORDER BY id LIMIT 1").fetchone()
        return found[0] if found else None

    @contextlib.contextmanager
    def _counting_bytes(self) -> Iterator[None]:
        before = written_bytes("thread-self")
        try:
            yield
        finally:
            after = written_bytes("thread-self")
            known = before is not None and after is not None and self.written_bytes is not None
            self.written_bytes = (
                (self.written_bytes or 0) + (after or 0) - (before or 0) if known else None
            )


def _cost(rows: Iterable[_Row]) -> int:
    return sum(row.cost for row in rows)
