"""The rollback floor: numbers that only ever rise, kept through power cuts.

python-tuf accepts an old repository after its cache was emptied; this file does not forget. It is
JSON and, on a second line, its SHA-256. A damaged file is an error, never zero.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from agent.errors import StorageError
from agent.host.disk import REAL_DISK, Disk
from agent.schema.document import Malformed, parse_json, to_json
from agent.schema.values import Counter, Struct

if TYPE_CHECKING:
    from pathlib import Path

_LIMIT_BYTES = 4096


class _Content(Struct):
    counter: Counter = 0
    timestamp_version: Counter = 0
    time_s: Counter = 0


class Floor:
    """The greatest release counter committed, TUF timestamp version and time seen on this device.

    Raises:
        StorageError: The file is damaged (`storage.damaged`) or cannot be read.
    """

    def __init__(self, path: Path, disk: Disk = REAL_DISK) -> None:
        self._path = path
        self._disk = disk
        self._content = self._load() if disk.exists(path) else _Content()

    @property
    def counter(self) -> int:
        """Return the greatest `release_counter` that was committed."""
        return self._content.counter

    @property
    def timestamp_version(self) -> int:
        """Return the greatest version of TUF timestamp metadata that was accepted."""
        return self._content.timestamp_version

    @property
    def time_s(self) -> int:
        """Return the latest time known to have passed, Unix seconds."""
        return self._content.time_s

    def raise_to(self, *, counter: int = 0, timestamp_version: int = 0, time_s: int = 0) -> None:
        """Raise each number to the one given, durably; smaller ones change nothing.

        Raises:
            StorageError: It cannot be stored; the floor is then as it was.
        """
        old = self._content
        new = _Content(
            counter=max(old.counter, counter),
            timestamp_version=max(old.timestamp_version, timestamp_version),
            time_s=max(old.time_s, time_s),
        )
        if new != old:
            body = to_json(new)
            self._disk.write_atomic(self._path, body + b"\n" + _checksum(body) + b"\n")
            self._content = new

    def _load(self) -> _Content:
        body, _, rest = self._disk.read(self._path, _LIMIT_BYTES).partition(b"\n")
        if rest.strip() != _checksum(body):
            raise self._damaged()
        try:
            return parse_json(body, _Content)
        except Malformed as error:
            raise self._damaged() from error

    def _damaged(self) -> StorageError:
        hint = "check the disk, then restore the file or enrol the device anew"
        message = f"{self._path}: damaged; not treated as zero"
        return StorageError(message, code="storage.damaged", hint=hint)


def _checksum(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode()
