"""Memory of a process, as the kernel accounts for it."""

from __future__ import annotations

import os
from pathlib import Path


def pss_mb(pid: int, root: Path = Path("/")) -> float:
    """Return the proportional set size of a process, MiB; 0 when it is gone.

    A process that forbids dumps hides its PSS from other users' processes: its resident set, which
    counts shared pages in full, stands in for it there.
    """
    folder = root / "proc" / str(pid)
    try:
        lines = (folder / "smaps_rollup").read_text("ascii").splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
    except (OSError, ValueError):
        return _rss_mb(folder)


def _rss_mb(folder: Path) -> float:
    try:
        pages = int((folder / "statm").read_text("ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
