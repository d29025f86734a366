"""The event store: events with snapshot, thumbnail and clip, on disk, within bounds.

Rules
- `put` never raises and waits for no picture: the store's own loop writes. Only the row of a new event is written at once,
  before anybody is told of it, so that the next life of the agent knows what it has to end.
- Pictures of the oldest events go first when `max_mb` is reached; events go after `retain_days`.
- A file is written whole or not at all (`Disk.write_atomic`), then indexed; what a power cut left in between
  is tidied at the next start.
- A full or broken disk stops no event: pictures are then counted as lost, and `problem` says why.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.errors import StorageError
from agent.events.index import EventIndex, Kept
from agent.host.clock import wall_ms
from agent.host.disk import REAL_DISK, Disk
from agent.schema.events import MAX_CLIP_BYTES, Event, EventRecord, PictureKind, StoreReport

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.schema.recording import StoreConfig

log = logging.getLogger(__name__)

_WAIT_S = 0.5
_TIDY_S = 60.0
# What may wait to be written, bytes; a slower disk loses pictures, not memory.
_MAX_WAITING_BYTES = 2 * MAX_CLIP_BYTES


@dataclass(frozen=True)
class _Picture:
    event: str
    kind: PictureKind
    data: bytes


class EventStore:
    """Keeps events in `folder`; `put_…` and the reading methods from any thread, `run` in its own.

    Raises:
        StorageError: The folder or its index cannot be opened.
    """

    def __init__(self, folder: Path, config: StoreConfig, disk: Disk = REAL_DISK) -> None:
        self._config = config
        self._disk = disk
        self._folder = folder / "pictures"
        disk.make_dirs(self._folder)
        self._index = EventIndex(folder / "events.db")
        self._using = threading.Lock()  # the index is one connection
        self._news = threading.Condition()
        self._events: dict[str, Event] = {}
        self._pictures: deque[_Picture] = deque()
        self._waiting_bytes = 0
        self._lost = 0
        self._tidied_s = time.monotonic()
        self.problem = ""
        self._reconcile()
        self._count, self._bytes = self._index.size()

    # what the keeper gives ------------------------------------------------------------------------------

    @property
    def keeps_pictures(self) -> bool:
        """Whether pictures are being written, as far as is known."""
        return not self.problem

    def put_event(self, event: Event) -> None:
        """Take an event's newest message."""
        if event.type == "new" and self._attempt(lambda: self._write_events([event])):
            return
        with self._news:
            self._events[event.id] = event
            self._news.notify()

    def put_picture(self, event: str, kind: PictureKind, data: bytes) -> None:
        """Take a picture of an event that was put before."""
        with self._news:
            if self._waiting_bytes + len(data) > _MAX_WAITING_BYTES:
                self._lost += 1
                return
            self._pictures.append(_Picture(event, kind, data))
            self._waiting_bytes += len(data)
            self._news.notify()

    # what others read -----------------------------------------------------------------------------------

    def recent(
        self,
        limit: int = 50,
        camera: str | None = None,
        label: str | None = None,
        before_ms: int | None = None,
    ) -> list[EventRecord]:
        """Return the newest events first, those that began before `before_ms` (Unix milliseconds).

        Raises:
            StorageError: The index cannot be read.
        """
        with self._using:
            return self._index.find(limit, camera, label, before_ms)

    def event(self, event: str) -> EventRecord | None:
        """Return one event by its id."""
        with self._using:
            return self._index.record(event)

    def open_events(self) -> list[EventRecord]:
        """Return the events that have not ended."""
        with self._using:
            return self._index.open_events()

    def snapshot(self, event: str) -> bytes | None:
        """Return an event's best picture (JPEG); None when it is not kept."""
        return self._read(event, PictureKind.SNAPSHOT)

    def thumbnail(self, event: str) -> bytes | None:
        """Return an event's thumbnail (JPEG, square); None when it is not kept."""
        return self._read(event, PictureKind.THUMBNAIL)

    def clip(self, event: str) -> bytes | None:
        """Return an event's clip (AVI of JPEGs, `agent.schema.avi`); None when it is not kept."""
        return self._read(event, PictureKind.CLIP)

    def report(self) -> StoreReport:
        """Return how full the store is."""
        return StoreReport(
            events=self._count, bytes=self._bytes, lost=self._lost, problem=self.problem
        )

    # the loop -------------------------------------------------------------------------------------------

    def run(self, stop: threading.Event) -> None:
        """Write what is put until `stop` is set, then what is left."""
        while not stop.is_set():
            with self._news:
                self._news.wait_for(lambda: bool(self._events or self._pictures), _WAIT_S)
            self.flush()
            if time.monotonic() - self._tidied_s >= _TIDY_S:
                self._tidied_s = time.monotonic()
                self._attempt(self._tidy)
        self.flush()
        self._index.close()

    def flush(self) -> None:
        """Write what was put so far."""
        with self._news:
            events, self._events = list(self._events.values()), {}
            pictures, self._pictures = list(self._pictures), deque()
            self._waiting_bytes = 0
        if events and not self._attempt(lambda: self._write_events(events)):
            with self._news:
                self._events = {**{one.id: one for one in events}, **self._events}
        for picture in pictures:
            self._lost += not self._attempt(lambda one=picture: self._write_picture(one))  # type: ignore[misc]

    def _write_events(self, events: list[Event]) -> None:
        with self._using:
            self._index.write(events, [])
            self._count, self._bytes = self._index.size()

    def _write_picture(self, picture: _Picture) -> None:
        with self._using:
            row = self._index.row_of(picture.event)
        if row is None:
            return
        kept = Kept(row, picture.kind, len(picture.data))
        self._make_room(kept.bytes)
        self._disk.write_atomic(self._folder / kept.file, picture.data)
        with self._using:
            self._index.write([], [kept])
            self._count, self._bytes = self._index.size()

    def _make_room(self, size: int) -> None:
        budget = self._config.max_mb * 2**20
        if self._bytes + size > budget:
            self._evict(self._bytes + size - budget)
        free, least = self._disk.free_bytes(self._folder), self._config.min_free_mb * 2**20
        if free - size < least:
            message = f"{self._folder}: {free >> 20} MiB are free, {least >> 20} must stay free"
            hint = "free some space, or lower events.store.min_free_mb"
            raise StorageError(message, code="storage.full", hint=hint)

    def _evict(self, needed: int) -> None:
        """Remove pictures of the oldest events until `needed` bytes are free of the budget."""
        with self._using:
            pictures = self._index.pictures()
        doomed = []
        for one in pictures:
            if needed <= 0:
                break
            doomed.append(one)
            needed -= one.bytes
        self._remove(doomed)

    def _remove(self, doomed: list[Kept]) -> None:
        for one in doomed:
            self._disk.remove(self._folder / one.file)
        with self._using:
            self._index.forget_pictures(doomed)
            self._count, self._bytes = self._index.size()

    def _tidy(self) -> None:
        """Forget events that are too old or too many."""
        oldest_ms = wall_ms() - int(self._config.retain_days * 86_400_000)
        with self._using:
            rows = set(self._index.outdated(oldest_ms))
            doomed = [one for one in self._index.pictures() if one.row in rows] if rows else []
        self._remove(doomed)
        with self._using:
            self._index.forget_events(rows)
            self._count, self._bytes = self._index.size()

    def _reconcile(self) -> None:
        """Make files and index agree again after a crash."""
        files = {path.name: path for path in self._disk.list(self._folder)}
        indexed = {one.file: one for one in self._index.pictures()}
        for name in files.keys() - indexed.keys():
            self._disk.remove(files[name])
        self._index.forget_pictures([indexed[name] for name in indexed.keys() - files.keys()])

    def _read(self, event: str, kind: PictureKind) -> bytes | None:
        with self._using:
            row = self._index.row_of(event)
        if row is None:
            return None
        try:
            return self._disk.read(self._folder / Kept(row, kind, 0).file, MAX_CLIP_BYTES)
        except StorageError as error:
            if error.code == "storage.missing":
                return None
            raise

    def _attempt(self, work: Callable[[], None]) -> bool:
        """Do what needs the disk; return whether it worked, and remember what was wrong."""
        try:
            work()
        except StorageError as error:
            if not self.problem:
                log.error("events are kept without pictures: %s", error.diagnostics())
            self.problem = str(error)
            return False
        if self.problem:
            log.info("pictures of events are kept again")
        self.problem = ""
        return True
