"""Proof of progress: a loop beats, somebody else looks whether it still does."""

from __future__ import annotations

from agent.host.clock import monotonic_ns

# Longer than any inference that is worth having and shorter than the supervisor's patience.
STUCK_AFTER_S = 3.0


class Pulse:
    """The last sign of life of one loop. Written by the loop, read by any thread."""

    def __init__(self) -> None:
        self._last_ns = monotonic_ns()

    def beat(self) -> None:
        """Say that the loop goes round."""
        self._last_ns = monotonic_ns()

    def is_fresh(self) -> bool:
        """Return whether the loop went round in the last `STUCK_AFTER_S` seconds."""
        return monotonic_ns() - self._last_ns < STUCK_AFTER_S * 1e9
