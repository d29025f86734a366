"""The outbox: messages that must reach the broker, kept on disk until it has acknowledged them.

Rules
- `put` never blocks on the disk and never raises. Messages gather in memory; `commit` writes all of
  them, and deletes all acknowledged ones, in one transaction (SQLite WAL, synchronous=FULL).
- After a restart exactly the unacknowledged messages are there, in their order: urgent ones first, and
  the order of putting within one priority. A topic should therefore keep one priority.
- Bounded by bytes and age: the least urgent and oldest go first, and every dropped one is counted.
- A disk that is full or broken stops no one: messages are then sent from memory, in bounded number.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from typing import TYPE_CHECKING

from agent.errors import StorageError
from agent.host.clock import wall_ms
from agent.telemetry.spool import Priority, Spool, Spooled

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from agent.schema.config import OutboxConfig

logger = logging.getLogger(__name__)

MAX_PAYLOAD_BYTES = 64 * 1024
MEMORY_MESSAGES = 2000


class Outbox:
    """Memory in front of a spool file. `put` from any thread; all else from the reporter's.

    Attributes:
        dropped: Messages given up for want of room, for their age, or because the broker refuses them.
        problem: Why nothing can be written now; empty when all is well.

    Raises:
        StorageError: The file cannot be opened or created.
    """

    def __init__(self, path: Path, limits: OutboxConfig) -> None:
        self.dropped = 0
        self.problem = ""
        self._spool = Spool(path, limits)
        self._last_id = self._spool.last_id
        self._memory: dict[int, Spooled] = {}
        self._finished: set[int] = set()
        self._put_since = False
        self._news = threading.Condition()

    @property
    def size(self) -> int:
        """Messages that wait, on disk and in memory."""
        return self._spool.rows + len(self._memory) - len(self._finished)

    def put(self, topic: str, payload: bytes, priority: Priority) -> None:
        """Take a message; it is durable after the next `commit`."""
        if len(payload) > MAX_PAYLOAD_BYTES:
            logger.error("message for %s dropped: %d bytes are too many", topic, len(payload))
            self._count_dropped(1)
            return
        with self._news:
            self._last_id += 1
            message = Spooled(self._last_id, priority, wall_ms(), topic, payload)
            self._memory[message.id] = message
            self._make_room()
            self._put_since = True
            self._news.notify()

    def wait(self, timeout_s: float) -> None:
        """Wait until something was put since the last `commit`, at most `timeout_s` seconds."""
        with self._news:
            self._news.wait_for(lambda: self._put_since, timeout_s)

    def batch(self, count: int) -> list[Spooled]:
        """Return the `count` messages that go next, from the disk and what it could not take."""
        self.commit()
        kept: list[Spooled] = []
        with self._reporting_trouble():
            kept = self._spool.read(count + len(self._finished))
        with self._news:
            waiting = [*kept, *self._memory.values()]
        waiting = [one for one in waiting if one.id not in self._finished]
        return sorted(waiting, key=lambda one: (one.priority, one.id))[:count]

    def done(self, ids: Collection[int]) -> None:
        """Forget messages that the broker has."""
        with self._news:
            on_disk = [one for one in ids if self._memory.pop(one, None) is None]
        self._finished.update(on_disk)
        self.commit()

    def drop(self, ids: Collection[int]) -> None:
        """Give up on messages that the broker will never take."""
        self._count_dropped(len(ids))
        self.done(ids)

    def commit(self) -> None:
        """Write what was put and delete what is done; what fails now is tried again next time."""
        with self._news:
            self._put_since = False
            fresh = list(self._memory.values())
        if not fresh and not self._finished:
            return
        with self._reporting_trouble():
            dropped = self._spool.write(fresh, self._finished)
            self._finished.clear()
            self.problem = ""
            self._count_dropped(dropped)
            with self._news:
                for one in fresh:
                    self._memory.pop(one.id, None)

    def close(self) -> None:
        """Write what is left and close the file."""
        self.commit()
        self._spool.close()

    def _make_room(self) -> None:
        if len(self._memory) > MEMORY_MESSAGES:
            least = max(self._memory.values(), key=lambda one: (one.priority, -one.id))
            del self._memory[least.id]
            self.dropped += 1

    def _count_dropped(self, count: int) -> None:
        with self._news:
            self.dropped += count

    @contextlib.contextmanager
    def _reporting_trouble(self) -> Iterator[None]:
        try:
            yield
        except StorageError as error:
            if not self.problem:
                logger.error("outbox works from memory: %s", error)
            self.problem = str(error)
