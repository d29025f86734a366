"""The end of a process that signals and threads ask for, and one thread waits for.

Not `threading.Event`: Python runs a signal's handler in the main thread between any two of its steps, and where that is about to wait
for the event, it holds the lock that setting the event wants. It would stand there for good.
"""

from __future__ import annotations

import contextlib
import queue


class Ending:
    """Told from signal handlers and any thread, any number of times; waited for by one thread."""

    def __init__(self) -> None:
        # Its `put` may interrupt its own `get`, as the documentation of the standard library promises.
        self._told: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._is_near = False

    @property
    def is_near(self) -> bool:
        """Whether somebody asked for it."""
        return self._is_near

    def ask(self) -> None:
        """Let the wait be over."""
        self._is_near = True
        self._told.put(None)

    def wait(self, timeout_s: float) -> bool:
        """Wait until it is asked for, at most so long; return whether it is."""
        if not self._is_near:
            with contextlib.suppress(queue.Empty):
                self._told.get(timeout=timeout_s)
        return self._is_near
