"""Memory and time of a process, as the kernel accounts for them."""

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
        return rss_mb(pid, root)


def rss_mb(pid: int, root: Path = Path("/")) -> float:
    """Return the resident set size of a process, MiB, shared pages in full; 0 when it is gone."""
    try:
        pages = int((root / "proc" / str(pid) / "statm").read_text("ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def cpu_s(pid: int, root: Path = Path("/")) -> float:
    """Return the seconds of CPU time that all threads of a process have used; 0 when it is gone."""
    try:
        # Behind the command's closing bracket, fields 14 and 15 of proc_pid_stat(5) are user and system time.
        fields = (root / "proc" / str(pid) / "stat").read_text("ascii").rpartition(")")[2].split()
        ticks = int(fields[11]) + int(fields[12])
    except (OSError, ValueError, IndexError):
        return 0.0
    return ticks / os.sysconf("SC_CLK_TCK")


def busy_s(root: Path = Path("/")) -> float | None:
    """Return the seconds that all cores together were busy, other virtual machines' included; None where nobody counts.

    The first line of proc_stat(5): user, nice, system, idle, iowait, irq, softirq, steal, and guests, who are users, too.
    """
    try:
        line = (root / "proc/stat").read_text("ascii").partition("\n")[0]
        ticks = [int(field) for field in line.split()[1:9]]
    except (OSError, ValueError):
        return None
    return (sum(ticks) - sum(ticks[3:5])) / os.sysconf("SC_CLK_TCK")


def written_bytes(who: str = "self", root: Path = Path("/")) -> int | None:
    """Return what a process (its id, `self` or `thread-self`) had written to disks; None where nobody counts.

    Whole pages that went to a block device (proc_pid_io(5), write_bytes): what wears flash out.
    """
    try:
        lines = (root / "proc" / who / "io").read_text("ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes:"))
    except (OSError, ValueError, StopIteration):
        return None
