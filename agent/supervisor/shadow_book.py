"""The record of a shadow run on disk, with its pictures. Thread-safe; what the disk does not take is told in the log."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from msgspec import convert
from msgspec.structs import replace

from agent.errors import CommandError, StorageError
from agent.host.clock import monotonic_ns, wall_ms
from agent.host.disk import Disk
from agent.schema.document import Malformed, parse_json, to_json
from agent.schema.ipc import FrameGrabbed
from agent.schema.shadow import ShadowPicture, ShadowRecord, ShadowState
from agent.schema.values import Box
from agent.supervisor.comparison import Compared, admit_picture, count

log = logging.getLogger(__name__)
_RECORD = "record.json"
_SAVE_S = 300.0
_LIMIT = 4 << 20


class ShadowBook:
    """Keeps one record: of the run that is under way, or of the last one.

    Args:
        folder: Where it lies, made when it is needed.
        disk: Disk under it.

    Attributes:
        record: What is known; None before the first run.
    """

    def __init__(self, folder: Path, disk: Disk) -> None:
        self._folder, self._disk = folder, disk
        self._lock = threading.RLock()
        self._saved_ns = monotonic_ns()
        self.record = self._read()

    @property
    def open(self) -> ShadowRecord | None:
        """The record of the run that is under way."""
        record = self.record
        return record if record is not None and record.state is ShadowState.RUNNING else None

    def begin(self, record: ShadowRecord) -> None:
        """Begin a run; the pictures of the last one go.

        Raises:
            CommandError: Another is under way (`shadow.busy`).
            StorageError: It cannot be written down.
        """
        with self._lock:
            self.require_free()
            self._disk.make_dirs(self._folder)
            for path in self._disk.list(self._folder):
                if path.suffix == ".jpg":
                    self._disk.remove(path)
            self._write(record)
            self.record = record

    def require_free(self) -> None:
        """Raise `CommandError` `shadow.busy` while a run is under way."""
        if self.open is not None:
            hint = "stop it first: stop-shadow"
            raise CommandError("a shadow run is under way", code="shadow.busy", hint=hint)

    def end(self, reason: str) -> ShadowRecord | None:
        """End the run that is under way; return its record, None where there was none."""
        with self._lock:
            record = self.open
            if record is None:
                return None
            self.record = replace(record, state=ShadowState.ENDED, end=reason, ended_ms=wall_ms())
            log.info("the shadow run of %s ended: %s", record.candidate.release, reason)
            self.save()
            return self.record

    def change(self, change: Callable[[ShadowRecord], ShadowRecord]) -> None:
        """Change the record of the run that is under way; it is written now and then."""
        with self._lock:
            if self.open is not None:
                self.record = change(self.open)
                if (monotonic_ns() - self._saved_ns) / 1e9 > _SAVE_S:
                    self.save()

    def take(self, compared: Compared, frame: FrameGrabbed, jpeg: bytes) -> int:
        """Count a frame, keep its picture if it is among the worst; return how many objects one model saw alone."""
        with self._lock:
            if self.open is None:
                return 0
            record, differing = count(self.open, compared)
            if differing:
                record = self._with_picture(record, _picture(compared, frame, differing), jpeg)
            self.change(lambda _: record)
            return differing

    def picture(self, picture: ShadowPicture) -> bytes:
        """Return the JPEG of one of the record's pictures; `StorageError` when it is gone."""
        return self._disk.read(self._folder / picture.file, _LIMIT)

    def save(self) -> None:
        """Write the record as well as the disk allows."""
        with self._lock:
            if self.record is None:
                return
            try:
                self._write(self.record)
            except StorageError as error:
                log.warning("what a shadow run found is not kept: %s", error)

    def _with_picture(
        self, record: ShadowRecord, picture: ShadowPicture, jpeg: bytes
    ) -> ShadowRecord:
        chosen = admit_picture(record, picture)
        if picture not in chosen.pictures:
            return record
        kept = {one.file for one in chosen.pictures}
        try:
            self._disk.write_atomic(self._folder / picture.file, jpeg)
            self._write(chosen)
            for old in record.pictures:
                if old.file not in kept:
                    self._disk.remove(self._folder / old.file)
        except StorageError as error:
            log.warning("a picture of a disagreement is not kept: %s", error)
            return record
        return chosen

    def _write(self, record: ShadowRecord) -> None:
        self._saved_ns = monotonic_ns()
        self._disk.write_atomic(self._folder / _RECORD, to_json(record))

    def _read(self) -> ShadowRecord | None:
        path = self._folder / _RECORD
        if not self._disk.exists(path):
            return None
        try:
            return parse_json(self._disk.read(path, _LIMIT), ShadowRecord)
        except (Malformed, StorageError) as error:
            log.warning("what a shadow run found cannot be read: %s", error)
            return None


def _picture(compared: Compared, frame: FrameGrabbed, differing: int) -> ShadowPicture:
    return ShadowPicture(
        file=f"{frame.captured_ms:013d}-{frame.camera}.jpg",
        camera=frame.camera,
        captured_ms=frame.captured_ms,
        width=frame.width,
        height=frame.height,
        differing=differing,
        running=convert(compared.running, list[Box]),
        candidate=convert(compared.candidate, list[Box]),
    )
