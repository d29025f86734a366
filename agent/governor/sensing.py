"""What the board says of itself: temperature and its slope, throttling, memory pressure, power mode."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.host.clock import monotonic_ns
from agent.host.pressure import memory_pressure
from agent.host.sensors import temperature_c
from agent.host.throttling import over_current, power_mode, throttling

_SLOPE_S = 60.0
_LEAST_SPAN_S = 10.0
_SLOW_S = 5.0  # flags may cost a process, and hold for longer than this


@dataclass(frozen=True)
class Board:
    """One look at the board; None or empty where it does not say."""

    temperature_c: float | None = None
    slope_c_min: float | None = None
    throttled: tuple[str, ...] = ()
    memory_pressure: float | None = None
    power_mode: str = ""


class Senses:
    """Looks at the board whose files are under `root`; keeps a minute of temperatures.

    Args:
        root: Root folder; a recorded one in tests.
        now_ns: A monotonic clock.
    """

    def __init__(self, root: Path = Path("/"), now_ns: Callable[[], int] = monotonic_ns) -> None:
        self._root = root
        self._now_ns = now_ns
        self._warmth: deque[tuple[float, float]] = deque()
        self._over_current = over_current(root)
        self._flags: tuple[str, ...] = ()
        self._mode = ""
        self._flags_due_s = float("-inf")

    def look(self, since_s: float = float("-inf")) -> Board:
        """Return what the board says now; the slope is that of the time from `since_s` on."""
        now_s = self._now_ns() / 1e9
        if now_s >= self._flags_due_s:
            self._flags_due_s = now_s + _SLOW_S
            self._flags, self._mode = self._throttled(), power_mode(self._root)
        degrees = temperature_c(self._root)
        if degrees is not None:
            self._warmth.append((now_s, degrees))
        while self._warmth and self._warmth[0][0] < now_s - _SLOPE_S:
            self._warmth.popleft()
        return Board(
            temperature_c=degrees,
            slope_c_min=slope_c_min([one for one in self._warmth if one[0] >= since_s]),
            throttled=self._flags,
            memory_pressure=memory_pressure(self._root),
            power_mode=self._mode,
        )

    def _throttled(self) -> tuple[str, ...]:
        """Return the flags that hold now, and the over-current events since the last look."""
        before, self._over_current = self._over_current, over_current(self._root)
        rising = [
            f"over-current {name}"
            for name, count in sorted(self._over_current.items())
            if count > before.get(name, count)
        ]
        return (*throttling(self._root).now, *rising)


def slope_c_min(warmth: Sequence[tuple[float, float]]) -> float | None:
    """Return the least-squares slope of (seconds, degrees), degrees a minute; None over too short a time."""
    if len(warmth) < 2 or warmth[-1][0] - warmth[0][0] < _LEAST_SPAN_S:  # noqa: PLR2004 - a line has two ends
        return None
    mean_s = sum(at_s for at_s, _ in warmth) / len(warmth)
    mean_c = sum(degrees for _, degrees in warmth) / len(warmth)
    across = sum((at_s - mean_s) * (degrees - mean_c) for at_s, degrees in warmth)
    return 60 * across / sum((at_s - mean_s) ** 2 for at_s, _ in warmth)
