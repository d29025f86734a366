"""The update record on disk: two slots, each one JSON line and its SHA-256 line, written in turn.

Rules
- A write goes to the slot that holds the older record, all or nothing; the newer one is never touched.
- Reading takes the newer slot that is whole. A slot that rotted leaves the record of one step before, whose
  releases are all still on disk, so that there is never none.
- Both slots damaged is a `StorageError`; no slot at all is a new device.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

from agent.errors import StorageError
from agent.host.disk import REAL_DISK, Disk
from agent.schema.document import Malformed, parse_json, to_json
from agent.schema.values import Counter, Struct
from agent.update.record import UpdateRecord

logger = logging.getLogger(__name__)
MAX_JOURNAL_BYTES = 256 * 1024


class _Slot(Struct):
    sequence: Counter
    record: UpdateRecord


class Journal:
    """Reads and writes the update record.

    Args:
        folder: Where the two slots lie; it exists.
        disk: Disk whose `write_atomic` the durability of every promise rests on.
    """

    def __init__(self, folder: Path, disk: Disk = REAL_DISK) -> None:
        self._paths = (folder / "update.a.json", folder / "update.b.json")
        self._disk = disk
        self._sequence = 0

    def read(self) -> UpdateRecord:
        """Return the newest whole record; that of a new device when nothing was ever written.

        Raises:
            StorageError: Every slot there is is damaged (`storage.journal_damaged`), or unreadable.
        """
        present = [path for path in self._paths if self._disk.exists(path)]
        whole = [slot for path in present if (slot := self._slot(path)) is not None]
        if present and not whole:
            names = " and ".join(str(path) for path in present)
            raise StorageError(
                f"update journal: {names} expected a record and its checksum, found neither intact",
                code="storage.journal_damaged",
                hint="remove the files to start without a model, then deploy a release",
            )
        newest = max(
            whole, key=lambda slot: slot.sequence, default=_Slot(sequence=0, record=UpdateRecord())
        )
        self._sequence = newest.sequence
        return newest.record

    def write(self, record: UpdateRecord) -> None:
        """Make `record` durable; call `read` once before.

        Raises:
            StorageError: It could not be written; the record before still stands.
        """
        sequence = self._sequence + 1
        body = to_json(_Slot(sequence=sequence, record=record))
        data = body + b"\n" + hashlib.sha256(body).hexdigest().encode() + b"\n"
        self._disk.write_atomic(self._paths[sequence % 2], data)
        self._sequence = sequence

    def _slot(self, path: Path) -> _Slot | None:
        try:
            slot = _decode(self._disk.read(path, MAX_JOURNAL_BYTES))
        except StorageError as error:
            logger.error("update journal: %s", error)
            return None
        if slot is None:
            logger.error("update journal: %s is damaged, using the other slot", path)
        return slot


def _decode(data: bytes) -> _Slot | None:
    body, _, check = data.partition(b"\n")
    if check != hashlib.sha256(body).hexdigest().encode() + b"\n":
        return None
    try:
        return parse_json(body, _Slot)
    except Malformed:
        return None
