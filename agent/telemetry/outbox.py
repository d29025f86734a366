"""The outbox: messages that must reach the broker, kept on disk until it has acknowledged them.

Rules
- `put` never blocks on the disk and never raises. Messages gather in memory; `commit` writes all of
  them, and deletes all acknowledged ones, in one transaction (SQLite WAL, synchronous=FULL).
- Flash wears out: an alert is written as soon as possible, an event after a second, a measurement
  after half a minute, and what was acknowledged by then is never written. A crash may cost that much.
- After a restart exactly the unacknowledged messages are there, in their order: urgent ones first, and
  the order of putting within one priority. A topic should therefore keep one priority.
- Bounded by bytes and age: the least urgent and oldest go first, and every dropped one is counted. Age
  is time that passed, not what the wall clock says: setting it drops nothing.
- A disk that is full or broken stops no one: messages are then sent from memory, in bounded number.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

from agent.errors import StorageError
from agent.host.clock import steady_ms
from agent.telemetry.spool import Priority, Spool, Spooled

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

    from agent.schema.reporting import OutboxConfig

logger = logging.getLogger(__name__)

MAX_PAYLOAD_BYTES = 64 * 1024
MEMORY_MESSAGES = 2000
MEMORY_BYTES = 8 * 1024 * 1024
# How long a message may wait in memory for others to be written with.
PATIENCE_S = {Priority.ALERT: 0.0, Priority.EVENT: 1.0, Priority.METRIC: 30.0}


class Outbox:
    """Memory in front of a spool file. `put` from any thread; all else from the reporter's.

    Attributes:
        problem: Why nothing can be written now; empty when all is well.

    Raises:
        StorageError: The file cannot be opened or created.
    """

    def __init__(
        self, path: Path, limits: OutboxConfig, now_ms: Callable[[], int] = steady_ms
    ) -> None:
        self.problem = ""
        self._now_ms = now_ms
        self._spool = Spool(path, limits, now_ms)
        self._last_id = self._spool.last_id
        self._memory: dict[int, Spooled] = {}
        self._memory_bytes = 0
        self._finished: set[int] = set()
        self._lost: Counter[Priority] = Counter()
        self._due_s = math.inf
        self._put_since = False
        self._news = threading.Condition()

    @property
    def size(self) -> int:
        """Messages that wait, on disk and in memory."""
        return self._spool.rows + len(self._memory) - len(self._finished)

    @property
    def drops(self) -> dict[Priority, int]:
        """Messages given up for want of room, for their age, or because the broker refuses them.

        Counted since the file was made, by priority.
        """
        with self._news:
            return dict(self._spool.dropped + self._lost)

    @property
    def dropped(self) -> int:
        """All of `drops`."""
        return sum(self.drops.values())

    @property
    def oldest_s(self) -> float:
        """Age of the oldest message, seconds; 0 when none waits."""
        with self._news:
            in_memory = [one.at_ms for one in itertools.islice(self._memory.values(), 1)]
        on_disk = self._spool.oldest_ms
        oldest_ms = min([*in_memory, *([] if on_disk is None else [on_disk])], default=None)
        return 0.0 if oldest_ms is None else max(0.0, (self._now_ms() - oldest_ms) / 1000)

    @property
    def written_bytes(self) -> int | None:
        """What the spool made the disk write since the start; None where the kernel does not count."""
        return self._spool.written_bytes

    def put(self, topic: str, payload: bytes, priority: Priority) -> None:
        """Take a message; it is durable after the next `commit`."""
        if len(payload) > MAX_PAYLOAD_BYTES:
            logger.error("message for %s dropped: %d bytes are too many", topic, len(payload))
            with self._news:
                self._lost[priority] += 1
            return
        with self._news:
            self._last_id += 1
            message = Spooled(self._last_id, priority, self._now_ms(), topic, payload)
            self._memory[message.id] = message
            self._memory_bytes += message.cost
            self._due_s = min(self._due_s, time.monotonic() + PATIENCE_S[priority])
            self._make_room()
            self._put_since = True
            self._news.notify()

    def wait(self, timeout_s: float) -> None:
        """Wait until something was put since the last call, at most `timeout_s` seconds."""
        with self._news:
            self._news.wait_for(lambda: self._put_since, timeout_s)
            self._put_since = False

    def batch(self, count: int, max_bytes: int = MEMORY_BYTES) -> list[Spooled]:
        """Return the messages that go next, from disk and memory: at most `count`, and more than one only within `max_bytes`."""
        kept: list[Spooled] = []
        with self._reporting_trouble():
            kept = self._spool.read(count + len(self._finished))
        with self._news:
            waiting = [*kept, *self._memory.values()]
        waiting = [one for one in waiting if one.id not in self._finished]
        waiting = sorted(waiting, key=lambda one: (one.priority, one.id))[:count]
        sizes = itertools.accumulate(one.cost for one in waiting)
        return [one for one, size in zip(waiting, sizes, strict=True) if size <= max_bytes] or (
            waiting[:1]
        )

    def done(self, ids: Collection[int]) -> None:
        """Forget messages that the broker has."""
        self._finished.update(one for one in ids if not self._forget(one))
        if self._finished:
            self._write([])

    def drop(self, messages: Collection[Spooled]) -> None:
        """Give up on messages that the broker will never take."""
        with self._news:
            self._lost.update(one.priority for one in messages)
        self.done([one.id for one in messages])

    def commit_due(self) -> None:
        """Write what was put, if any of it has waited long enough."""
        if time.monotonic() >= self._due_s:
            self.commit()

    def commit(self) -> None:
        """Write what was put and delete what is done; what fails now is tried again next time."""
        with self._news:
            self._due_s = math.inf
            fresh = list(self._memory.values())
        if fresh or self._finished or self._lost:
            self._write(fresh)

    def close(self) -> None:
        """Write what is left and close the file."""
        self.commit()
        self._spool.close()

    def _write(self, fresh: list[Spooled]) -> None:
        with self._news:
            lost = Counter(self._lost)
        with self._reporting_trouble():
            self._spool.write(fresh, self._finished, lost)
            self._finished.clear()
            self.problem = ""
            for one in fresh:
                self._forget(one.id)
            with self._news:
                self._lost -= lost
        if self.problem:
            self._due_s = time.monotonic() + PATIENCE_S[Priority.EVENT]

    def _forget(self, message_id: int) -> bool:
        """Take a message out of memory, if it is there."""
        with self._news:
            found = self._memory.pop(message_id, None)
            self._memory_bytes -= found.cost if found else 0
            return found is not None

    def _make_room(self) -> None:
        if self._memory_bytes > MEMORY_BYTES // 2 or len(self._memory) > MEMORY_MESSAGES // 2:
            self._due_s = 0.0
        while self._memory_bytes > MEMORY_BYTES or len(self._memory) > MEMORY_MESSAGES:
            least = max(self._memory.values(), key=lambda one: (one.priority, -one.id))
            self._memory_bytes -= self._memory.pop(least.id).cost
            self._lost[least.priority] += 1

    @contextlib.contextmanager
    def _reporting_trouble(self) -> Iterator[None]:
        try:
            yield
        except StorageError as error:
            if not self.problem:
                logger.error("outbox works from memory: %s", error)
            self.problem = str(error)
