"""Clocks: wall time for people and expiry, monotonic time for durations, and which boot this is."""

from __future__ import annotations

import ctypes
import struct
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_BEGAN_MS = (time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)) // 1_000_000
_STA_UNSYNC = 0x40


def wall_ms() -> int:
    """Return Unix time, milliseconds; may jump, and is wrong until the clock was set."""
    return time.time_ns() // 1_000_000


def utc(at_ms: int) -> datetime:
    """Return the date and time, UTC, of Unix milliseconds."""
    return datetime.fromtimestamp(at_ms / 1000, timezone.utc)


def monotonic_ns() -> int:
    """Return CLOCK_MONOTONIC, nanoseconds; never jumps and is the same in all processes of this boot."""
    return time.monotonic_ns()


def steady_ms() -> int:
    """Return Unix time as this process first knew it, carried on without jumps, milliseconds.

    For ages: when the wall clock is set, what waits has not suddenly waited for years.
    """
    return _BEGAN_MS + time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


def boot_id(root: Path = Path("/")) -> str:
    """Return the kernel's random identifier of this boot, empty where the kernel shows none."""
    try:
        return (root / "proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


# A time server's corrections of less than this are not worth a word; below, time stands rather than runs back.
_JUMP_MS = 1000


class CaptureClock:
    """Wall and monotonic time of one instant, for one thread.

    Wall time never runs backwards by less than `_JUMP_MS`; a greater jump is followed at once and counted, so
    that dates are right as soon as the clock is, and whoever measures durations uses the monotonic time.

    Args:
        wall: Unix time, milliseconds.
        monotonic: CLOCK_MONOTONIC, nanoseconds.
    """

    def __init__(
        self, wall: Callable[[], int] = wall_ms, monotonic: Callable[[], int] = monotonic_ns
    ) -> None:
        self.jumps = 0
        self._wall = wall
        self._monotonic = monotonic
        self._last: tuple[int, int] | None = None

    def now_ns(self) -> int:
        """Return monotonic nanoseconds of now."""
        return self._monotonic()

    def stamp(self) -> tuple[int, int]:
        """Return (Unix milliseconds, monotonic nanoseconds) of now."""
        now_ms, now_ns = self._wall(), self._monotonic()
        if self._last is not None:
            last_ms, last_ns = self._last
            off_ms = now_ms - last_ms - (now_ns - last_ns) / 1e6
            if abs(off_ms) >= _JUMP_MS:
                self.jumps += 1
            else:
                now_ms = max(now_ms, last_ms)
        self._last = (now_ms, now_ns)
        return self._last


def is_synchronised() -> bool | None:
    """Say whether the kernel's clock follows a time server (adjtimex(2), STA_UNSYNC); None: it does not tell."""
    # struct timex begins with `modes`; `status` stands behind four longs (padding included) on 64-bit systems.
    timex = (ctypes.c_char * 512)()
    if ctypes.CDLL(None, use_errno=True).adjtimex(timex) < 0:
        return None
    (status,) = struct.unpack_from("i", timex, 40)
    return not status & _STA_UNSYNC
