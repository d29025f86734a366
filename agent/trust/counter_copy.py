"""Command counters kept a second time, beside the ledger: one restored from a backup opens no old command again.

The ledger is right while it is ahead; the copy is written after it, so a crash between leaves the copy behind, never
ahead. A copy that is missing or damaged is made anew from the ledger: a second line, not a lock.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path

from agent.errors import StorageError
from agent.host.disk import REAL_DISK, Disk
from agent.schema.document import Malformed, parse_json, to_json
from agent.schema.values import Counter

log = logging.getLogger(__name__)
_LIMIT_BYTES = 1 << 20


class CounterCopy:
    """The file at `path`: JSON of the greatest admitted counter by issuer, and on a second line its SHA-256."""

    def __init__(self, path: Path, disk: Disk = REAL_DISK) -> None:
        self._path, self._disk = path, disk

    def read(self) -> dict[str, int]:
        """Return the counters; none where the file is missing or damaged."""
        try:
            if not self._disk.exists(self._path):
                return {}
            body, _, rest = self._disk.read(self._path, _LIMIT_BYTES).partition(b"\n")
            if rest.strip() == _checksum(body):
                return dict(parse_json(body, dict[str, Counter]))
        except (StorageError, Malformed) as error:
            log.error("copy of the command counters: %s", error)
        else:
            log.error("copy of the command counters: %s is damaged; it is made anew", self._path)
        return {}

    def write(self, counters: Mapping[str, int]) -> None:
        """Keep `counters`; a disk that does not take them is logged, for the ledger has them."""
        body = to_json(dict(counters))
        try:
            self._disk.write_atomic(self._path, body + b"\n" + _checksum(body) + b"\n")
        except StorageError as error:
            log.error("copy of the command counters: %s", error)


def _checksum(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode()
