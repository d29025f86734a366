"""Recorded sources shown at their own rate, as if they were live.

Frame n is due at `epoch + n / fps`. Two processes with the same epoch therefore show the same frame at the
same time, and one can take over from the other in mid-film.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import threading

_NS = 1_000_000_000


@dataclass(frozen=True)
class Pace:
    """A timetable: `fps` ticks a second, tick 0 at `epoch_ns` (CLOCK_MONOTONIC)."""

    fps: float
    epoch_ns: int

    def tick(self, now_ns: int) -> int:
        """Return the tick that is shown at `now_ns`; 0 before the epoch."""
        return max(0, int((now_ns - self.epoch_ns) * self.fps // _NS))

    def due_ns(self, tick: int) -> int:
        """Return the first instant at which `tick` is shown."""
        due = self.epoch_ns + int(tick * _NS / self.fps)
        # Rounding may leave the instant a nanosecond early.
        return due if self.tick(due) >= tick else due + 1

    def next_tick(self, last: int, now_ns: int) -> int:
        """Return the tick to show next: the current one, or the one after `last` when that was shown."""
        return max(self.tick(now_ns), last + 1)


def wait_until(due_ns: int, now_ns: int, stop: threading.Event) -> bool:
    """Wait from `now_ns` until `due_ns`; return False when `stop` was set meanwhile."""
    return not stop.wait(max(0, due_ns - now_ns) / _NS)
