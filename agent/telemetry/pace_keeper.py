"""Looks every ten seconds at how quick frames are, judges it by this device's past, and keeps that over restarts."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from agent.errors import StorageError
from agent.host.clock import monotonic_ns
from agent.host.disk import REAL_DISK, Disk
from agent.host.frequency import cpu_clock
from agent.host.pressure import memory_pressure
from agent.host.processes import busy_s, cpu_s
from agent.host.throttling import power_mode, throttling
from agent.schema.document import Malformed, parse_json, to_json
from agent.schema.pace import PaceReport
from agent.schema.values import Struct
from agent.telemetry.meters import Meters
from agent.telemetry.pace import Look, PaceJudge

log = logging.getLogger(__name__)

FILE = "pace.json"
_EVERY_S = 10.0
_LEAST_FRAMES = 5
_LIMIT = 1 << 20


class Kept(Struct):
    """The file: the past of each setting of the present release."""

    past: dict[str, list[Look]] = msgspec.field(default_factory=dict)


@dataclass(frozen=True)
class Ports:
    """What the keeper asks the other parts.

    Attributes:
        setting: What serves, as `<release>/<the rest>`: only looks at the same one are compared. Empty for nothing, and
            while what is measured says nothing, as beside a trial.
        worker_pid: Process id of the worker, 0 for none.
        on_change: Told when slowness begins, ends, or has another stage or cause.
    """

    setting: Callable[[], str]
    worker_pid: Callable[[], int]
    on_change: Callable[[PaceReport], None]


class PaceKeeper:
    """One judge for each setting.

    Args:
        folder: Where the past is kept.
        meters: What the frames took.
        ports: The other parts.
        root: Root folder of the board's files.
        disk: Where to write.
    """

    def __init__(
        self,
        folder: Path,
        meters: Meters,
        ports: Ports,
        root: Path = Path("/"),
        disk: Disk = REAL_DISK,
    ) -> None:
        self._path, self._meters, self._ports = folder / FILE, meters, ports
        self._root, self._disk = root, disk
        self._judges = {name: PaceJudge(past) for name, past in self._read().past.items()}
        self._setting = ""
        self._told: dict[str, str] = {}
        self._others = OthersWork(root)

    @property
    def report(self) -> PaceReport | None:
        """How what serves now stands to its past; None where nothing serves or was looked at."""
        judge = self._judges.get(self._setting)
        return judge.report if judge else None

    @property
    def slow(self) -> str:
        """What is slow and why, as a sentence; empty for nothing. Its figures are those of when it was news."""
        return self._told.get(self._setting, "")

    def run(self, stop: threading.Event) -> None:
        """Look every ten seconds until `stop` is set."""
        while not stop.wait(_EVERY_S):
            self.look()

    def look(self) -> None:
        """Look once."""
        others = self._others.cores(self._ports.worker_pid())
        reading = self._meters.read(_EVERY_S)
        self._setting = self._ports.setting()
        if not self._setting or reading.frames < _LEAST_FRAMES:
            return
        clock = cpu_clock(self._root)
        look = Look(
            stages_ms={name: stage.p50 for name, stage in reading.stages.items()},
            clock_mhz=clock.now_mhz if clock else None,
            others=others,
            throttled=tuple(throttling(self._root).now),
            power_mode=power_mode(self._root),
            memory_pressure=memory_pressure(self._root),
        )
        judge = self._judges.setdefault(self._setting, PaceJudge())
        newest = judge.newest
        if judge.take(look):
            self._told[self._setting] = judge.report.reason
            self._ports.on_change(judge.report)
        if judge.newest is not newest:
            self._save()

    # what is kept over restarts -----------------------------------------------------------------------

    def _read(self) -> Kept:
        try:
            if self._disk.exists(self._path):
                return parse_json(self._disk.read(self._path, _LIMIT), Kept)
        except (Malformed, StorageError) as error:
            log.warning("how quick this device usually is, is learned anew: %s", error)
        return Kept()

    def _save(self) -> None:
        release = self._setting.partition("/")[0]
        past = {
            name: list(judge.past)
            for name, judge in self._judges.items()
            if name.partition("/")[0] == release
        }
        try:
            self._disk.write_atomic(self._path, to_json(Kept(past=past)))
        except StorageError as error:
            log.warning("how quick this device usually is, is not kept: %s", error)


class OthersWork:
    """Counts the cores that processes other than ours, or other virtual machines, use."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._last: tuple[int, int, float] | None = None

    def cores(self, worker_pid: int) -> float | None:
        """Return how many since the last call; None for the first, and after a change of the worker."""
        spent_s = busy_s(self._root)
        if spent_s is None:
            return None
        ours_s = sum(cpu_s(pid, self._root) for pid in (os.getpid(), worker_pid) if pid)
        before, now = self._last, (monotonic_ns(), worker_pid, spent_s - ours_s)
        self._last = now
        if before is None or before[1] != worker_pid:
            return None
        seconds = (now[0] - before[0]) / 1e9
        return round(max(0.0, now[2] - before[2]) / seconds, 2) if seconds > 0 else None
