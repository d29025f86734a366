"""A minimum rate and an overall deadline: what beats a road that drips.

A road that gives one byte a second never times out; it is given up when a whole window passed below the
minimum rate.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from agent.errors import TransferError

Clock = Callable[[], float]  # seconds, monotonic


@dataclass(frozen=True)
class PaceLimits:
    """What a transfer must keep up.

    Attributes:
        min_bytes_s: Least mean rate over every window, bytes per second.
        window_s: Length of a window, seconds.
        deadline_s: Longest time one file may take, seconds.
    """

    min_bytes_s: float = 4096.0
    window_s: float = 30.0
    deadline_s: float = 3600.0


class Pace:
    """Watches one transfer; it starts when it is made."""

    def __init__(self, limits: PaceLimits, clock: Clock = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._begin = self._window_begin = clock()
        self._window_bytes = 0

    def add(self, count: int) -> None:
        """Count `count` more bytes (0: just look at the clock).

        Raises:
            TransferError: `transfer.deadline` or `transfer.slow`.
        """
        now = self._clock()
        self._window_bytes += count
        if now - self._begin > self._limits.deadline_s:
            message = f"transfer took longer than {self._limits.deadline_s:.0f} s"
            raise TransferError(message, code="transfer.deadline")
        elapsed = now - self._window_begin
        if elapsed >= self._limits.window_s:
            self._judge(self._window_bytes / elapsed)
            self._window_begin, self._window_bytes = now, 0

    def excuse(self, seconds: float) -> None:
        """Start the next window only in `seconds`: the server asked us to wait. The deadline stays."""
        self._window_begin, self._window_bytes = self._clock() + seconds, 0

    def _judge(self, rate: float) -> None:
        if rate < self._limits.min_bytes_s:
            floor = self._limits.min_bytes_s
            message = f"transfer ran at {rate:.0f} bytes/s, at least {floor:.0f} are asked for"
            raise TransferError(message, code="transfer.slow")
