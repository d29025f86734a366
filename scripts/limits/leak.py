"""A runtime that leaks shared memory, which no rlimit counts: it begins in the worker when `/run/vigil/leak` is there.

A `.pth` file loads it in every Python of the proof's machine.
"""

from __future__ import annotations

import mmap
import sys
import threading
import time
from pathlib import Path

_SIGN = Path("/run/vigil/leak")
_BLOCK = 8 * 2**20  # bytes


def _leak() -> None:
    while not _SIGN.exists():
        time.sleep(1)
    _SIGN.unlink()  # the next worker is well
    hoard = []
    while True:
        block = mmap.mmap(-1, _BLOCK)
        block.write(bytes(_BLOCK))
        hoard.append(block)


if "agent.vision" in sys.orig_argv:
    threading.Thread(target=_leak, daemon=True).start()
