"""Block pull over MQTT: a window of small requests, answered in any order, asked again when lost.

Rules (UPDATE_NOTES 3.2)
- A response counts once, and only for a request that is open: same correlation id, same offset, exact length.
- The file's total must not change under our hands.
- Ask again after a timeout and after every (re)subscription; 503 says how long to wait.
- A minimum rate and a deadline end a road that drips.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from agent.errors import TransferError
from agent.schema.blocks import (
    BLOCK_BYTES,
    BUSY,
    NOT_FOUND,
    OK,
    OUT_OF_RANGE,
    WINDOW,
    BlockReply,
    BlockRequest,
)
from agent.schema.document import to_json
from agent.update.pace import Clock, Pace, PaceLimits
from agent.update.ports import Channel

MAX_RETRY_AFTER_S = 60.0
STEP_S = 0.25  # longest sleep before the generation, the timeouts and the pace are looked at again


@dataclass(frozen=True)
class BlockLimits:
    """How blocks are asked for.

    Attributes:
        block_bytes: Size of one block.
        window: Requests open at a time.
        answer_s: Seconds after which an unanswered request is sent again.
        pace: Least rate and longest time.
    """

    block_bytes: int = BLOCK_BYTES
    window: int = WINDOW
    answer_s: float = 3.0
    pace: PaceLimits = field(default_factory=PaceLimits)


class BlockSource:
    """A `Source` over one `Channel`; one file at a time.

    Args:
        channel: The device's `blk` channel.
        limits: Window, timeouts and pace.
        clock: Monotonic seconds.
    """

    def __init__(
        self, channel: Channel, limits: BlockLimits = BlockLimits(), clock: Clock = time.monotonic
    ) -> None:
        self._channel = channel
        self._limits = limits
        self._clock = clock

    def read(self, path: str, start: int) -> Iterator[bytes]:
        """Yield the file's bytes from `start` on, block by block in order.

        Raises:
            TransferError: `transfer.not_found`, `transfer.refused`, `transfer.changed` (another total),
                `transfer.slow` or `transfer.deadline`.
        """
        pull = _Pull(self._channel, self._limits, self._clock, path, start)
        while (data := pull.take()) is not None:
            yield data


@dataclass
class _Open:
    """One request that waits: `due` is the instant at which it is sent (again)."""

    offset: int
    length: int
    due: float


class _Pull:
    """One file on its way."""

    def __init__(
        self, channel: Channel, limits: BlockLimits, clock: Clock, path: str, start: int
    ) -> None:
        self._channel, self._limits, self._clock, self._path = channel, limits, clock, path
        self._pace = Pace(limits.pace, clock)
        self._open: dict[bytes, _Open] = {}
        self._ready: dict[int, bytes] = {}
        self._total: int | None = None
        self._next_ask = self._next_give = start
        self._generation = channel.generation

    def take(self) -> bytes | None:
        """Return the next block in order, or None at the end of the file."""
        # First, and not before the block given last was dealt with: what is lost with the process, on its way or
        # in the caller's hand, is one window at most.
        self._fill_window()
        self._ask_again()
        while self._next_give not in self._ready:
            if self._total is not None and self._next_give >= self._total:
                return None
            self._receive()
            self._fill_window()
            self._ask_again()
        data = self._ready.pop(self._next_give)
        self._next_give += len(data)
        return data

    def _fill_window(self) -> None:
        """Open requests up to the window; only one before the file's total is known."""
        room = 1 if self._total is None else self._limits.window
        while len(self._open) + len(self._ready) < room and self._is_more():
            left = self._limits.block_bytes if self._total is None else self._total - self._next_ask
            length = min(self._limits.block_bytes, left)
            self._open[secrets.token_bytes(8)] = _Open(self._next_ask, length, self._clock())
            self._next_ask += length

    def _is_more(self) -> bool:
        return self._total is None or self._next_ask < self._total

    def _ask_again(self) -> None:
        """Send every request that is due: new, unanswered for too long, or lost in a reconnect."""
        now, generation = self._clock(), self._channel.generation
        is_fresh, self._generation = generation != self._generation, generation
        for identity, request in self._open.items():
            if is_fresh or request.due <= now:
                request.due = now + self._limits.answer_s
                self._send(identity, request)

    def _send(self, identity: bytes, request: _Open) -> None:
        body = BlockRequest(id=identity.hex(), p=self._path, o=request.offset, l=request.length)
        try:
            self._channel.send(to_json(body))
        except TransferError:
            # Offline: the generation rises when the link is back, or the pace gives up.
            return

    def _receive(self) -> None:
        now = self._clock()
        due = min(request.due for request in self._open.values())
        payload = self._channel.receive(min(max(due - now, 0.0), STEP_S))
        self._pace.add(self._accept(payload) if payload is not None else 0)

    def _accept(self, payload: bytes) -> int:
        """Take a response in and return the bytes it brought; unasked and malformed ones bring none."""
        try:
            reply = BlockReply.decode(payload)
        except TransferError:
            return 0
        request = self._open.get(reply.id)
        if request is None:
            return 0
        if reply.status == BUSY:
            return self._wait_as_told(reply.total / 1000.0, request)
        if reply.status != OK:
            return self._refused(reply, request)
        return self._fits(reply, request)

    def _wait_as_told(self, retry_after_s: float, request: _Open) -> int:
        # Jitter keeps a fleet that was sent away together from coming back together.
        wait_s = min(retry_after_s, MAX_RETRY_AFTER_S) * (1.0 + secrets.randbelow(256) / 1024)
        request.due = self._clock() + wait_s
        self._pace.excuse(wait_s)
        return 0

    def _refused(self, reply: BlockReply, request: _Open) -> int:
        if reply.status == NOT_FOUND:
            raise TransferError(f"{self._path}: not in the repository", code="transfer.not_found")
        is_at_end = reply.status == OUT_OF_RANGE and request.offset == reply.total
        if not is_at_end:
            message = f"{self._path}: block at {request.offset} refused with {reply.status}"
            raise TransferError(message, code="transfer.refused")
        del self._open[reply.id]
        self._learn_total(reply.total)
        return 0

    def _fits(self, reply: BlockReply, request: _Open) -> int:
        """Keep a block of exactly the bytes asked for; anything else stays open and is asked again."""
        length = min(request.length, max(reply.total - request.offset, 0))
        is_beyond = request.offset > reply.total
        if reply.offset != request.offset or len(reply.data) != length or is_beyond:
            return 0
        self._learn_total(reply.total)
        del self._open[reply.id]
        if length:
            self._ready[reply.offset] = reply.data
        return length

    def _learn_total(self, total: int) -> None:
        if self._total is None:
            self._total = total
            self._next_ask = min(self._next_ask, total)
        elif self._total != total:
            message = (
                f"{self._path}: had {self._total} bytes, now {total}: it changed on the server"
            )
            raise TransferError(message, code="transfer.changed")
