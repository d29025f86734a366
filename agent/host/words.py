"""Numbers as people read them."""

from __future__ import annotations

_MINUTE_S, _HOUR_S = 60, 3600


def counted(number: int, noun: str) -> str:
    """Return so many of something whose plural ends in s: `1 device`, `2 devices`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def lasting(seconds: float) -> str:
    """Return a duration in the unit that fits: `45 s`, `12 min`, `7.5 h`."""
    if round(seconds) < _MINUTE_S:
        return f"{seconds:.0f} s"
    if round(seconds / _MINUTE_S) * _MINUTE_S < _HOUR_S:
        return f"{seconds / _MINUTE_S:.0f} min"
    return f"{seconds / _HOUR_S:.1f} h"
