"""`python -m agent.vision --socket-fd N [--memory-mb M]`: start one worker on an inherited socket."""

from __future__ import annotations

import argparse
import ctypes
import logging
import os
import socket
import sys

from agent.host.sandbox import confine
from agent.host.seqpacket import Wire

# malloc.h
_M_ARENA_MAX = -8


def main() -> int:
    """Confine this process, then serve; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m agent.vision")
    parser.add_argument("--socket-fd", type=int, required=True)
    parser.add_argument("--memory-mb", type=int)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    if options.memory_mb is not None:
        confine(options.memory_mb)
    _use_one_heap()
    # Before OpenCV is loaded: FFmpeg's own messages would name streams with their passwords.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
    import cv2

    from agent.vision.worker import Worker

    # Its work on a frame takes a tenth of a millisecond: more threads cost memory and save no time.
    cv2.setNumThreads(1)
    return Worker(Wire(socket.socket(fileno=options.socket_fd))).run()


def _use_one_heap() -> None:
    """Keep all threads on one heap (mallopt(3)), where the C library can.

    Frames pass between threads: with a heap for each, 40 MB of freed ones stay behind.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_ARENA_MAX, 1)


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads inside a hung runtime or driver must not keep the process.
    os._exit(status)
