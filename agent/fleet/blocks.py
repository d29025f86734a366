"""The block server: pieces of the public repository's files, for devices that have only MQTT.

Every request is hostile until proven otherwise: nothing outside the public folder is read, nothing larger
than a block is sent, and a bounded number of devices is served at a time (the others come back later).
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

from agent.host.clock import monotonic_ns
from agent.schema.blocks import (
    BAD_REQUEST,
    BUSY,
    MAX_BLOCK_BYTES,
    NOT_FOUND,
    OK,
    OUT_OF_RANGE,
    BlockReply,
    BlockRequest,
)
from agent.schema.document import Malformed, parse_json

NO_ID = bytes(8)  # in a reply to a request whose own id cannot be read
REQUEST_LIMIT = 4096  # bytes
RETRY_AFTER_MS = 5_000
_IDLE_NS = 10_000_000_000


class Admission:
    """Lets a bounded number of devices transfer at a time.

    Args:
        limit: How many devices.
        clock: Monotonic nanoseconds.
    """

    def __init__(self, limit: int, clock: Callable[[], int] = monotonic_ns) -> None:
        self._limit = limit
        self._clock = clock
        self._seen: dict[str, int] = {}
        self._lock = threading.Lock()

    def admit(self, device: str) -> bool:
        """Return whether `device` may transfer now; ten seconds of silence give its place up."""
        now = self._clock()
        with self._lock:
            if device not in self._seen and len(self._seen) >= self._limit:
                self._seen = {d: at for d, at in self._seen.items() if now - at < _IDLE_NS}
            if device not in self._seen and len(self._seen) >= self._limit:
                return False
            self._seen[device] = now
            return True


class BlockServer:
    """Serves the files below `public`.

    Args:
        public: A repository's public folder.
        devices: How many devices may transfer at a time.
        clock: Monotonic nanoseconds.
    """

    def __init__(
        self, public: Path, devices: int = 200, clock: Callable[[], int] = monotonic_ns
    ) -> None:
        self._public = public.resolve()
        self._admission = Admission(devices, clock)

    def answer(self, device: str, payload: bytes) -> BlockReply:
        """Answer one request of `device`, the id that the broker vouches for."""
        request = read_request(payload)
        if request is None:
            return BlockReply(NO_ID, BAD_REQUEST, 0, 0, b"")
        identity = bytes.fromhex(request.id)
        if not self._admission.admit(device):
            return busy(payload)
        status, total, data = self._read(request)
        return BlockReply(identity, status, request.o, total, data)

    def _read(self, request: BlockRequest) -> tuple[int, int, bytes]:
        try:
            path = (self._public / request.p).resolve()
            if not path.is_relative_to(self._public):
                return NOT_FOUND, 0, b""
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, ValueError, RuntimeError):
            return NOT_FOUND, 0, b""
        try:
            facts = os.fstat(handle)
            if not stat.S_ISREG(facts.st_mode):
                return NOT_FOUND, 0, b""
            if request.o >= facts.st_size:
                return OUT_OF_RANGE, facts.st_size, b""
            return OK, facts.st_size, os.pread(handle, request.l, request.o)
        finally:
            os.close(handle)


def read_request(payload: bytes) -> BlockRequest | None:
    """Decode a request; None when it is malformed or asks for more than a block may have."""
    if len(payload) > REQUEST_LIMIT:
        return None
    try:
        request = parse_json(payload, BlockRequest)
        has_id = len(request.id) == 2 * len(NO_ID) and len(bytes.fromhex(request.id)) == len(NO_ID)
    except (Malformed, ValueError):
        return None
    return request if has_id and request.l <= MAX_BLOCK_BYTES else None


def busy(payload: bytes) -> BlockReply:
    """Return the reply that asks a device to come back after `RETRY_AFTER_MS`."""
    request = read_request(payload)
    identity = NO_ID if request is None else bytes.fromhex(request.id)
    return BlockReply(identity, BUSY, 0, RETRY_AFTER_MS, b"")
