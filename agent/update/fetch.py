"""One file from a road to the disk: resumable, every block checked, durable before it has its name.

Rules
- A `.part` keeps its good leading blocks over restarts: they are hashed again, the rest is fetched.
- A block is written only after its signed digest matched; a wrong one is asked for again, over the next road.
- Synced every 4 MiB, at most once a second: what a power cut costs is that much, or a second of the transfer. At the
  end length and digest of the whole, sync, rename, sync of the folder.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from agent.errors import StorageError, TransferError, TrustError
from agent.host.disk import Disk, PartFile
from agent.schema.messages import Progress
from agent.update.metered import Road
from agent.update.targets import Target

SYNC_BYTES = 4 * 1024 * 1024
SYNC_S = 1.0
RESERVE_BYTES = 16 * 1024 * 1024  # left free for journal, ledger and spool
ATTEMPTS = 3


def fetch_small(source: Road, target: Target, limit: int) -> bytes:
    """Return a small file whole.

    Raises:
        TransferError: The road failed or brought wrong bytes three times (`transfer.poisoned`).
        TrustError: `trust.too_long`: it is longer than `limit` bytes.
    """
    if target.length > limit:
        message = f"{target.path}: {target.length} bytes, at most {limit} expected"
        raise TrustError(message, code="trust.too_long")
    stream = _Stream(source, target, 0)
    return b"".join(stream.block(index) for index in range(len(target.block_sha256)))


def fetch_file(
    source: Road,
    target: Target,
    part: Path,
    blob: Path,
    disk: Disk,
    progress: Callable[[Progress], None],
) -> None:
    """Bring `target` to `blob`; does nothing but hash when it is there already.

    Args:
        source: Roads to fetch from.
        target: What TUF lists.
        part: Where the unfinished file lies; same folder as `blob`.
        blob: Where the finished file lies.
        disk: Where both are.
        progress: Called after every block; what it raises ends the transfer and keeps the part.

    Raises:
        TransferError: The road is bad; the part is kept.
        TrustError: `trust.metadata`: all blocks match, the whole does not.
        StorageError: Too little space (`storage.full`) or a failing disk.
    """
    if disk.exists(blob) and _is_whole(blob, target, disk):
        return
    file = disk.open_part(part)
    try:
        _complete(file, source, target, part, disk, progress)
        file.sync()
    finally:
        file.close()
    disk.rename(part, blob)


def _complete(
    file: PartFile,
    source: Road,
    target: Target,
    part: Path,
    disk: Disk,
    progress: Callable[[Progress], None],
) -> None:
    whole = hashlib.sha256()
    first = _good_blocks(file, target, whole.update)
    start = min(first * target.block_size, target.length)
    if file.size != start:
        file.truncate(start)
    _require_space(disk, part, target.length - start)
    progress(Progress(file=target.path, done=start, total=target.length))
    unsynced, synced_s, stream = 0, time.monotonic(), _Stream(source, target, start)
    for index in range(first, len(target.block_sha256)):
        data = stream.block(index)
        whole.update(data)
        file.write_at(start, data)
        start, unsynced = start + len(data), unsynced + len(data)
        if unsynced >= SYNC_BYTES and time.monotonic() - synced_s >= SYNC_S:
            file.sync()
            unsynced, synced_s = 0, time.monotonic()
        progress(Progress(file=target.path, done=start, total=target.length))
    if whole.hexdigest() != target.sha256:
        file.truncate(0)
        message = f"{target.path}: its blocks match the signed digests, the whole file does not"
        raise TrustError(message, code="trust.metadata")


def _is_whole(blob: Path, target: Target, disk: Disk) -> bool:
    """Check a finished file where it lies: the serving release may share it, so it is never moved."""
    file, whole = disk.open_part(blob), hashlib.sha256()
    try:
        count = _good_blocks(file, target, whole.update)
        has_length = file.size == target.length
    finally:
        file.close()
    is_complete = has_length and count == len(target.block_sha256)
    return is_complete and whole.hexdigest() == target.sha256


def _good_blocks(file: PartFile, target: Target, seen: Callable[[bytes], None]) -> int:
    """Return how many leading blocks of `file` are intact, handing each to `seen`."""
    for index, digest in enumerate(target.block_sha256):
        data = file.read_at(index * target.block_size, target.block_length(index))
        if hashlib.sha256(data).hexdigest() != digest:
            return index
        seen(data)
    return len(target.block_sha256)


def _require_space(disk: Disk, part: Path, needed: int) -> None:
    free = disk.free_bytes(part.parent)
    if needed and free < needed + RESERVE_BYTES:
        message = f"{part.parent}: {needed + RESERVE_BYTES} bytes needed, {free} free"
        raise StorageError(message, code="storage.full", hint="free some space on this file system")


class _Stream:
    """Cuts what the roads bring into the signed blocks; begins anew where a block is wrong."""

    def __init__(self, source: Road, target: Target, start: int) -> None:
        self._source, self._target = source, target
        self._rest = b""  # of the last piece, for the next block
        self._pieces: Iterator[bytes] = source.read(target.location, start)

    def block(self, index: int) -> bytes:
        """Return block `index`; blocks are asked for in order."""
        length = self._target.block_length(index)
        for _ in range(ATTEMPTS):
            data = self._take(length)
            if hashlib.sha256(data).hexdigest() == self._target.block_sha256[index]:
                return data
            self._begin_anew(index * self._target.block_size)
        message = f"{self._target.path}: block {index} came wrong {ATTEMPTS} times"
        raise TransferError(message, code="transfer.poisoned")

    def _take(self, length: int) -> bytes:
        """Return `length` bytes, fewer when the file ends before."""
        pieces, missing = [], length
        while missing and (piece := self._rest or next(self._pieces, b"")):
            pieces.append(piece[:missing])
            self._rest = piece[missing:]
            missing -= len(pieces[-1])
        return b"".join(pieces)

    def _begin_anew(self, start: int) -> None:
        self._rest = b""
        self._source.distrust()
        self._pieces = self._source.read(self._target.location, start)
