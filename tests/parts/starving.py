"""Time in which the machine had no processor for somebody who wanted one: no promise of seconds counts it."""

from __future__ import annotations

import bisect
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

_EVERY_S = 0.05


def starved_s() -> float:
    """Seconds since the machine's start in which a task wanted a processor and got none; 0 if the kernel does not tell."""
    pressure = Path("/proc/pressure/cpu")
    if not pressure.exists():
        return 0.0
    return int(pressure.read_text().splitlines()[0].rpartition("total=")[2]) / 1e6


@dataclass
class Starving:
    """What `starved_s` said, and at which wall time, seconds."""

    at_s: list[float] = field(default_factory=list)
    said_s: list[float] = field(default_factory=list)

    def look(self) -> None:
        """Write down what it says now."""
        self.said_s.append(starved_s())
        self.at_s.append(time.time())

    def between_s(self, begin_s: float, end_s: float) -> float:
        """Seconds of it between two wall times, rounded up to whole looks."""
        first = max(0, bisect.bisect_right(self.at_s, begin_s) - 1)
        last = min(len(self.at_s) - 1, bisect.bisect_left(self.at_s, end_s))
        return self.said_s[last] - self.said_s[first]


@contextmanager
def watched() -> Iterator[Starving]:
    """Look again and again until the block ends."""
    seen, over = Starving(), threading.Event()

    def watch() -> None:
        while not over.wait(_EVERY_S):
            seen.look()

    seen.look()
    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()
