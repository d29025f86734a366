"""How a process of this room is set up before it loads OpenCV, FFmpeg or a runtime."""

from __future__ import annotations

import os

from agent.host.heap import keep_little

_FRAME_MB = 32  # 3840x2160 has 24


def keep_quiet() -> None:
    """Have OpenCV and FFmpeg say nothing by themselves: FFmpeg would name streams with their passwords."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")


def set_up_process() -> None:
    """Keep libraries quiet and small; call it first, in the main thread."""
    keep_little(_FRAME_MB)
    keep_quiet()
    import cv2

    # Its work on a frame takes a tenth of a millisecond: more threads cost memory and save no time.
    cv2.setNumThreads(1)
