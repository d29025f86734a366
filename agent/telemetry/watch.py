"""What changes slowly and costs the kernel something to say: memory, room, throttling, power, bytes written."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from agent.host.processes import pss_mb, written_bytes
from agent.host.reading import text
from agent.host.sensors import power_rails
from agent.host.throttling import power_mode, throttling
from agent.schema.measures import BoardReport

_EVERY_S = 10.0
_DAY_S = 86_400.0
_MIB = 2**20


@dataclass(frozen=True)
class Look:
    """One look: PSS of control process and worker (MiB), the board, and MiB written to disks as of a day."""

    control_mb: float
    worker_mb: float
    board: BoardReport
    written_mb_day: float | None


class Watch:
    """Looks at most every ten seconds; `folder` is where the agent keeps its state."""

    def __init__(self, folder: Path, root: Path = Path("/")) -> None:
        self._folder = folder
        self._root = root
        self._began_s = time.monotonic()
        self._began_bytes = written_bytes()
        self._looked_s = -_EVERY_S
        self._worker = 0
        self._last: Look | None = None

    def look(self, worker: int) -> Look:
        """Return the newest look; `worker` is the worker's process id, 0 for none."""
        now_s = time.monotonic()
        if self._last is None or now_s - self._looked_s >= _EVERY_S or worker != self._worker:
            self._looked_s, self._worker = now_s, worker
            self._last = Look(
                control_mb=round(pss_mb(os.getpid()), 1),
                worker_mb=round(pss_mb(worker), 1) if worker else 0.0,
                board=board_report(self._folder, self._root),
                written_mb_day=self.per_day(written_bytes(), self._began_bytes),
            )
        return self._last

    def per_day(self, now_bytes: int | None, began_bytes: int | None = 0) -> float | None:
        """Return MiB as of a day for bytes counted since the start."""
        if now_bytes is None or began_bytes is None:
            return None
        seconds = max(time.monotonic() - self._began_s, 1.0)
        return round((now_bytes - began_bytes) / _MIB * _DAY_S / seconds, 1)


def board_report(folder: Path, root: Path = Path("/")) -> BoardReport:
    """Return the board as it is now."""
    flags = throttling(root)
    uptime = text(root / "proc/uptime").split(" ")[0]
    return BoardReport(
        memory_free_mb=_available_mb(root),
        disk_free_mb=_room_mb(folder),
        throttled=flags.now,
        throttled_earlier=flags.earlier,
        power_mode=power_mode(root),
        power_mw={rail.name: rail.power_mw for rail in power_rails(root)},
        uptime_s=int(float(uptime)) if uptime else 0,
    )


def _available_mb(root: Path) -> float | None:
    for line in text(root / "proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return round(int(line.split()[1]) / 1024, 1)
    return None


def _room_mb(folder: Path) -> float | None:
    try:
        return round(shutil.disk_usage(folder).free / _MIB, 1)
    except OSError:
        return None
