"""The spool file: waiting messages in SQLite (WAL, synchronous=FULL), within bounds of bytes and age."""

from __future__ import annotations

import enum
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.host.clock import wall_ms
from agent.host.database import open_database, storage_errors, transaction
from agent.schema.config import OutboxConfig

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
)
_COLUMNS = "id, priority, at_ms, topic, payload"
_COST = f"length(payload) + length(CAST(topic AS BLOB)) + {_ROW_BYTES}"


class Priority(enum.IntEnum):
    """Urgency; a lower number is sent first and dropped last."""

    ALERT = 0
    EVENT = 1
    METRIC = 2


@dataclass(frozen=True)
class Spooled:
    """One message that waits; `at_ms` is when it was put, Unix milliseconds."""

    id: int
    priority: Priority
    at_ms: int
    topic: str
    payload: bytes

    @property
    def cost(self) -> int:
        """Bytes that it counts for."""
        return len(self.payload) + len(self.topic.encode()) + _ROW_BYTES


class Spool:
    """The file; used by one thread. Every method raises `StorageError` when the disk fails, and has then done nothing.

    Attributes:
        rows: Messages on disk.
        last_id: Greatest id that was ever written.
    """

    def __init__(self, path: Path, limits: OutboxConfig) -> None:
        self._path = path
        self._max_bytes = limits.max_mb * 1024 * 1024
        self._max_age_ms = int(limits.max_age_h * 3_600_000)
        self._age_checked_s = -_AGE_CHECK_S
        with storage_errors(self._path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = open_database(path, _SCHEMA)
            everything = list(self._costs())
        self.rows = len(everything)
        self.last_id = max((row_id for row_id, _ in everything), default=0)
        self._bytes = sum(cost for _, cost in everything)

    def read(self, count: int) -> list[Spooled]:
        """Return the `count` messages that go first."""
        with storage_errors(self._path):
            sql = f"SELECT {_COLUMNS} FROM message ORDER BY priority, id LIMIT ?"  # noqa: S608
            rows = self._database.execute(sql, (count,)).fetchall()
        return [Spooled(row[0], Priority(row[1]), *row[2:]) for row in rows]

    def write(self, fresh: Collection[Spooled], finished: Collection[int]) -> int:
        """Add and delete in one transaction; return how many messages the bounds pushed out."""
        with storage_errors(self._path), transaction(self._database):
            rows, used = self._counted_delete(self._finished(finished))
            values = [(one.id, one.priority, one.at_ms, one.topic, one.payload) for one in fresh]
            self._database.executemany("INSERT INTO message VALUES (?, ?, ?, ?, ?)", values)
            used += sum(one.cost for one in fresh)
            old, old_bytes = self._counted_delete(self._too_old())
            many, many_bytes = self._counted_delete(self._too_many(self._bytes + used + old_bytes))
        self.rows += rows + len(fresh) + old + many
        self._bytes += used + old_bytes + many_bytes
        self.last_id = max([self.last_id, *(one.id for one in fresh)])
        return -(old + many)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _counted_delete(self, costs: Iterable[tuple[int, int]]) -> tuple[int, int]:
        """Delete rows given as `(id, cost)`; return the change of rows and bytes."""
        found = list(costs)
        ids = [(row_id,) for row_id, _ in found]
        self._database.executemany("DELETE FROM message WHERE id = ?", ids)
        return -len(found), -sum(cost for _, cost in found)

    def _costs(self, tail: str = "", *values: object) -> Iterator[tuple[int, int]]:
        """Yield `(id, cost)` of the rows that the end of a SELECT statement names."""
        yield from self._database.execute(f"SELECT id, {_COST} FROM message {tail}", values)  # noqa: S608

    def _finished(self, ids: Iterable[int]) -> Iterator[tuple[int, int]]:
        for row_id in ids:
            yield from self._costs("WHERE id = ?", row_id)

    def _too_old(self) -> Iterator[tuple[int, int]]:
        now_s = time.monotonic()
        if now_s - self._age_checked_s >= _AGE_CHECK_S:
            self._age_checked_s = now_s
            oldest_ms = wall_ms() - self._max_age_ms
            yield from self._costs("WHERE at_ms >= ? AND at_ms < ?", _CLOCK_SET_MS, oldest_ms)

    def _too_many(self, used: int) -> Iterator[tuple[int, int]]:
        for row_id, cost in self._costs("ORDER BY priority DESC, id"):
            if used <= self._max_bytes:
                return
            used -= cost
            yield row_id, cost
