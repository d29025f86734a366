"""The C library's heap: how much of what a process frees goes back to the system (mallopt(3))."""

from __future__ import annotations

import ctypes

# malloc.h
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -2, -3, -8
_TOP_BYTES = 2 * 1024 * 1024


def keep_little(large_mb: int = 2) -> None:
    """Let freed memory go back, where the C library can; call it before there are threads.

    One heap for all threads: with one for each, what a thread freed stays its own; of frames, which pass between
    threads, 40 MB. Large blocks outside of it: what a library needs only while it loads would leave holes below what it
    keeps. By itself the C library takes ever larger blocks into the heap once one of them was freed.

    Args:
        large_mb: MiB, at most 32. Larger blocks are outside of the heap, and fetched from the system anew each time:
            a frame of 1280x720 costs a millisecond so.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_ARENA_MAX, 1)
        libc.mallopt(_M_MMAP_THRESHOLD, large_mb * 2**20)
        libc.mallopt(_M_TRIM_THRESHOLD, large_mb * 2**22)
        libc.mallopt(_M_TOP_PAD, _TOP_BYTES)
