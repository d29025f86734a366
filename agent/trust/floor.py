"""The rollback floor: numbers that only ever rise, kept through power cuts.

Where a TPM is configured, its NV counter stands beside the file and the greater of the two holds: an old
image of the disk does not bring an old release back. A TPM that cannot be read stops updates, not inference.

python-tuf accepts an old repository after its cache was emptied; this file does not forget. It is
JSON and, on a second line, its SHA-256. A damaged file is an error, never zero.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from typing import TYPE_CHECKING, Protocol

from agent.errors import KeyUnavailableError, StorageError
from agent.host.disk import REAL_DISK, Disk
from agent.schema.document import Malformed, parse_json, to_json
from agent.schema.values import Counter, Struct

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)
_LIMIT_BYTES = 4096


class NvCounter(Protocol):
    """A counter in hardware that nobody can lower. Both methods raise `KeyUnavailableError`."""

    def read(self) -> int:
        """Return the counter, 0 before it was ever raised."""

    def raise_to(self, value: int) -> int:
        """Raise the counter towards `value`, perhaps not all the way at once; return what it is now."""


class _Content(Struct):
    counter: Counter = 0
    timestamp_version: Counter = 0
    time_s: Counter = 0


class Floor:
    """The greatest release counter committed, TUF timestamp version and time seen on this device. Any thread may raise it.

    Args:
        path: The file.
        disk: Where it lies.
        hardware: A counter that holds the release counter too.

    Raises:
        StorageError: The file is damaged (`storage.damaged`) or cannot be read.
    """

    def __init__(
        self, path: Path, disk: Disk = REAL_DISK, hardware: NvCounter | None = None
    ) -> None:
        self._path = path
        self._disk = disk
        self._hardware = hardware
        self._raising = threading.Lock()
        self._content = self._load() if disk.exists(path) else _Content()

    @property
    def counter(self) -> int:
        """Return the greatest `release_counter` that was committed.

        Raises:
            StorageError: The hardware counter cannot be read (`floor.unavailable`).
        """
        if self._hardware is None:
            return self._content.counter
        try:
            return max(self._content.counter, self._hardware.read())
        except KeyUnavailableError as error:
            raise _unavailable(error) from error

    @property
    def stored_counter(self) -> int:
        """Return what the file says of `counter`: for a report, which no failing hardware may stop."""
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
            StorageError: The file cannot be written; the floor is then as it was. Or the hardware counter cannot
                be raised (`floor.unavailable`); the file then holds the new floor alone.
        """
        with self._raising:
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
            self._raise_hardware(counter)

    def _raise_hardware(self, counter: int) -> None:
        if self._hardware is None or not counter:
            return
        try:
            reached = self._hardware.raise_to(self._content.counter)
        except KeyUnavailableError as error:
            raise _unavailable(error) from error
        if reached < self._content.counter:
            text = "hardware floor at %d of %d: it follows in small steps; number releases closely"
            log.warning(text, reached, self._content.counter)

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


def _unavailable(error: KeyUnavailableError) -> StorageError:
    message = f"rollback floor: {error}"
    hint = error.hint or "check the TPM; updates wait for it"
    return StorageError(message, code="floor.unavailable", hint=hint)


def _checksum(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode()
