"""Clocks: wall time for people and expiry, monotonic time for durations, and which boot this is."""

from __future__ import annotations

import ctypes
import struct
import time
from pathlib import Path

_BEGAN_MS = (time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)) // 1_000_000
_STA_UNSYNC = 0x40


def wall_ms() -> int:
    """Return Unix time, milliseconds; may jump, and is wrong until the clock was set."""
    return time.time_ns() // 1_000_000


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


def is_synchronised() -> bool | None:
    """Say whether the kernel's clock follows a time server (adjtimex(2), STA_UNSYNC); None: it does not tell."""
    # struct timex begins with `modes`; `status` stands behind four longs (padding included) on 64-bit systems.
    timex = (ctypes.c_char * 512)()
    if ctypes.CDLL(None, use_errno=True).adjtimex(timex) < 0:
        return None
    (status,) = struct.unpack_from("i", timex, 40)
    return not status & _STA_UNSYNC
