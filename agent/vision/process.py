"""How a process of this room is set up before it loads OpenCV, FFmpeg or a runtime."""

from __future__ import annotations

import ctypes
import os

# malloc.h
_M_ARENA_MAX = -8


def set_up_process() -> None:
    """Keep libraries quiet and small; call it first, in the main thread."""
    _use_one_heap()
    # Before OpenCV is loaded: FFmpeg's own messages would name streams with their passwords.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
    import cv2

    # Its work on a frame takes a tenth of a millisecond: more threads cost memory and save no time.
    cv2.setNumThreads(1)


def _use_one_heap() -> None:
    """Keep all threads on one heap (mallopt(3)), where the C library can.

    Frames pass between threads: with a heap for each, 40 MB of freed ones stay behind.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_ARENA_MAX, 1)
