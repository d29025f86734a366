"""The index of kept events: which there are, which pictures belong to them, and which go first. SQLite.

A picture's file is named after its event's row, never after what a worker sent. A file is written before its
row, so that a row without a file means that the file was lost, and a file without a row is rubbish.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from agent.host.database import open_database, storage_errors, transaction
from agent.schema.document import Malformed, parse_json, to_json
from agent.schema.events import Event, EventRecord, PictureKind

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

MAX_EVENTS = 50_000
_SUFFIXES = {PictureKind.CLIP: "avi", PictureKind.SNAPSHOT: "jpg", PictureKind.THUMBNAIL: "jpg"}
_SCHEMA = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA journal_size_limit = 4194304",
    "PRAGMA foreign_keys = ON",
    (
        "CREATE TABLE IF NOT EXISTS event (row INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL,"
        " camera TEXT NOT NULL, label TEXT NOT NULL, start_ms INTEGER NOT NULL, at_ms INTEGER NOT NULL,"
        " is_open INTEGER NOT NULL, message BLOB NOT NULL)"
    ),
    (
        "CREATE TABLE IF NOT EXISTS picture (event INTEGER NOT NULL REFERENCES event ON DELETE CASCADE,"
        " kind TEXT NOT NULL, bytes INTEGER NOT NULL, PRIMARY KEY (event, kind)) WITHOUT ROWID"
    ),
    "CREATE INDEX IF NOT EXISTS beginning ON event (start_ms)",
)
_KINDS = "(SELECT group_concat(kind) FROM picture WHERE event = row)"


class Kept(NamedTuple):
    """One picture on disk: its event's row, its kind and its size in bytes."""

    row: int
    kind: PictureKind
    bytes: int

    @property
    def file(self) -> str:
        """Name of its file."""
        return f"{self.row}.{self.kind.value}.{_SUFFIXES[self.kind]}"


class EventIndex:
    """The database; used by one thread at a time. Every method raises `StorageError` when the disk fails."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with storage_errors(path):
            self._database = open_database(path, _SCHEMA)

    def write(self, events: Iterable[Event], pictures: Iterable[Kept]) -> None:
        """Add or replace events, then pictures, in one transaction."""
        with storage_errors(self._path), transaction(self._database):
            rows = [
                (one.id, one.camera, one.label, one.start_ms, one.at_ms, one.end_ms is None, to_json(one))
                for one in events
            ]  # fmt: skip
            self._database.executemany(
                "INSERT INTO event (id, camera, label, start_ms, at_ms, is_open, message)"
                " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
                " at_ms = excluded.at_ms, is_open = excluded.is_open, message = excluded.message",
                rows,
            )
            self._database.executemany(
                "INSERT OR REPLACE INTO picture VALUES (?, ?, ?)",
                [(one.row, one.kind.value, one.bytes) for one in pictures],
            )

    def row_of(self, event: str) -> int | None:
        """Return the row of an event; None when there is none."""
        found = self._rows("SELECT row FROM event WHERE id = ?", event)
        return found[0][0] if found else None

    def find(
        self, limit: int, camera: str | None, label: str | None, before_ms: int | None
    ) -> list[EventRecord]:
        """Return the newest events by their start, filtered, that began before `before_ms`."""
        sql = (
            f"SELECT message, {_KINDS} FROM event WHERE (?1 IS NULL OR camera = ?1)"  # noqa: S608 - constants
            " AND (?2 IS NULL OR label = ?2) AND (?3 IS NULL OR start_ms < ?3)"
            " ORDER BY start_ms DESC, row DESC LIMIT ?4"
        )
        return _records(self._rows(sql, camera, label, before_ms, limit))

    def record(self, event: str) -> EventRecord | None:
        """Return one event."""
        sql = f"SELECT message, {_KINDS} FROM event WHERE id = ?"  # noqa: S608 - constants
        return next(iter(_records(self._rows(sql, event))), None)

    def open_events(self) -> list[EventRecord]:
        """Return the events that have not ended."""
        return _records(self._rows(f"SELECT message, {_KINDS} FROM event WHERE is_open"))  # noqa: S608

    def pictures(self) -> list[Kept]:
        """Return all pictures, the oldest event's first."""
        rows = self._rows("SELECT event, kind, bytes FROM picture ORDER BY event, kind")
        return [Kept(row, PictureKind(kind), size) for row, kind, size in rows]

    def size(self) -> tuple[int, int]:
        """Return the number of events and the bytes of all pictures."""
        ((events,),) = self._rows("SELECT count(*) FROM event")
        ((used,),) = self._rows("SELECT coalesce(sum(bytes), 0) FROM picture")
        return events, used

    def outdated(self, oldest_ms: int) -> list[int]:
        """Return the rows of ended events older than `oldest_ms`, and of all that are too many."""
        sql = (
            "SELECT row FROM event WHERE (NOT is_open AND at_ms < ?) OR"
            " row <= (SELECT max(row) FROM event) - ?"
        )
        return [row for (row,) in self._rows(sql, oldest_ms, MAX_EVENTS)]

    def forget_pictures(self, pictures: Collection[Kept]) -> None:
        """Remove pictures from the index."""
        with storage_errors(self._path), transaction(self._database):
            self._database.executemany(
                "DELETE FROM picture WHERE event = ? AND kind = ?",
                [(one.row, one.kind.value) for one in pictures],
            )

    def forget_events(self, rows: Collection[int]) -> None:
        """Remove events with their pictures from the index."""
        with storage_errors(self._path), transaction(self._database):
            self._database.executemany("DELETE FROM event WHERE row = ?", [(row,) for row in rows])

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _rows(self, sql: str, *values: object) -> list[tuple]:  # type: ignore[type-arg] # sqlite's own
        with storage_errors(self._path):
            return self._database.execute(sql, values).fetchall()


def _records(rows: Iterable[tuple[bytes, str | None]]) -> list[EventRecord]:
    """Decode rows; an event written in a shape that this version does not know is passed over."""
    records = []
    for message, kinds in rows:
        try:
            event = parse_json(message, Event)
        except Malformed:
            continue
        kept = set((kinds or "").split(","))
        records.append(
            EventRecord(
                event=event,
                has_snapshot=PictureKind.SNAPSHOT.value in kept,
                has_thumbnail=PictureKind.THUMBNAIL.value in kept,
                has_clip=PictureKind.CLIP.value in kept,
            )
        )
    return records
