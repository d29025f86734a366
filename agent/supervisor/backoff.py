"""Doubling delays between the starts of something that keeps dying."""

from __future__ import annotations

from agent.host.clock import monotonic_ns

_FORGIVEN_AFTER_S = 60.0


class Backoff:
    """The first start is free; a minute without a start forgives the past.

    Args:
        least_s: Delay after the first start, seconds.
        most_s: Greatest delay, seconds.
    """

    def __init__(self, least_s: float, most_s: float) -> None:
        self._least_s = least_s
        self._most_s = most_s
        self.reset()

    def reset(self) -> None:
        """Forget the past: the next start is free."""
        self._delay_s = 0.0
        self._last_ns = monotonic_ns()

    @property
    def is_over(self) -> bool:
        """Whether the next start may happen now."""
        return self._quiet_s >= self._delay_s

    def count_start(self) -> None:
        """Note a start, and lengthen the delay before the next one."""
        doubled_s = min(max(self._delay_s * 2, self._least_s), self._most_s)
        self._delay_s = self._least_s if self._quiet_s > _FORGIVEN_AFTER_S else doubled_s
        self._last_ns = monotonic_ns()

    @property
    def _quiet_s(self) -> float:
        return (monotonic_ns() - self._last_ns) / 1e9
