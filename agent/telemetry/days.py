"""One small file for each day: what measurements and events come to, from which a month is told.

    days = Days(state_folder / FOLDER)
    days.measured(telemetry)  # every measurement that is reported anyway
    found, bad = read_days(state_folder / FOLDER, date_of(wall_ms()), 30)  # any process, also while the agent runs

The day's file is written every quarter of an hour, when the day is over and at the end: a power cut costs that much.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from typing import TYPE_CHECKING

from msgspec.structs import replace

from agent.errors import StorageError
from agent.host.clock import monotonic_ns, utc, wall_ms
from agent.host.disk import REAL_DISK, Disk
from agent.schema.days import CameraDay, Day, Spread, StageDay
from agent.schema.document import Malformed, parse_json, to_json

if TYPE_CHECKING:
    from pathlib import Path

    from agent.schema.drift import DriftReport
    from agent.schema.events import Event
    from agent.schema.messages import StageMs, Telemetry

log = logging.getLogger(__name__)

FOLDER = "days"
KEPT_DAYS = 400
_SAVE_S = 900.0
_MAX_LABELS = 200
_OTHER = "other"
_LIMIT = 1 << 20


def date_of(at_ms: int) -> date:
    """Return the day, UTC, of Unix milliseconds."""
    return utc(at_ms).date()


class Days:
    """Keeps the present day; every method from any thread. What the disk does not take is told in the log.

    Args:
        folder: Where the files lie, made when it is needed.
        disk: Disk under it.
        now_ms: Unix time, milliseconds.
        now_ns: A monotonic clock.
    """

    def __init__(
        self,
        folder: Path,
        disk: Disk = REAL_DISK,
        now_ms: Callable[[], int] = wall_ms,
        now_ns: Callable[[], int] = monotonic_ns,
    ) -> None:
        self._folder, self._disk, self._now_ms, self._now_ns = folder, disk, now_ms, now_ns
        self._lock = threading.Lock()
        self._measured_ns = self._saved_ns = now_ns()
        today = self._opened()
        self._day = replace(today, starts=today.starts + 1)

    def measured(self, measured: Telemetry) -> Telemetry:
        """Count a measurement, and return it: for the time since the last, two intervals at most."""
        with self._lock:
            self._turn()
            now_ns = self._now_ns()
            passed_s = (now_ns - self._measured_ns) / 1e9
            self._measured_ns = now_ns
            seconds = min(passed_s, 2 * measured.interval_ms / 1000)
            self._day = with_measurement(self._day, measured, seconds)
            if (now_ns - self._saved_ns) / 1e9 >= _SAVE_S:
                self._save()
        return measured

    def event(self, event: Event) -> None:
        """Count an object that appeared."""
        if event.type == "new":
            with self._lock:
                self._turn()
                self._day = with_event(self._day, event.label)

    def save(self) -> None:
        """Write the day as well as the disk allows."""
        with self._lock:
            self._save()

    def _turn(self) -> None:
        """Begin the next day where this one is over; a clock that is set back goes on with the day before."""
        if self._day.date != date_of(self._now_ms()).isoformat():
            self._save()
            self._day = self._opened()

    def _opened(self) -> Day:
        name = date_of(self._now_ms()).isoformat()
        path = self._folder / f"{name}.json"
        try:
            if self._disk.exists(path):
                return _read(path, self._disk)
        except (Malformed, StorageError) as error:
            log.warning("the day %s is begun anew: %s", name, error)
        return Day(date=name)

    def _save(self) -> None:
        self._saved_ns = self._now_ns()
        try:
            self._disk.make_dirs(self._folder)
            self._disk.write_atomic(self._folder / f"{self._day.date}.json", to_json(self._day))
            for path in sorted(self._disk.list(self._folder))[:-KEPT_DAYS]:
                self._disk.remove(path)
        except StorageError as error:
            log.warning("what the day %s came to is not kept: %s", self._day.date, error)


def read_days(
    folder: Path, last: date, count: int, disk: Disk = REAL_DISK
) -> tuple[dict[date, Day], list[str]]:
    """Return the days that are kept of the `count` until `last`, and which files say nothing, with the reason.

    Raises:
        StorageError: The folder cannot be read.
    """
    found, bad = {}, []
    names = {path.name: path for path in disk.list(folder)}
    for back in range(count - 1, -1, -1):
        day = last - timedelta(days=back)
        path = names.get(f"{day.isoformat()}.json")
        if path is not None:
            try:
                found[day] = _read(path, disk)
            except (Malformed, StorageError) as error:
                bad.append(f"{path.name}: {error}")
    return found, bad


def with_measurement(day: Day, measured: Telemetry, seconds: float) -> Day:
    """Return the day with one measurement more, which stands for so many seconds. Pure."""
    warmth = measured.temperature_c
    return replace(
        day,
        measured_s=round(day.measured_s + seconds, 3),
        serving_s=round(day.serving_s + (seconds if measured.fps > 0 else 0.0), 3),
        fps=_with(day.fps, measured.fps),
        temperature_c=day.temperature_c if warmth is None else _with(day.temperature_c, warmth),
        stages={**day.stages, **_stages(day.stages, measured.stages)},
        cameras={
            **day.cameras,
            **{one.name: _camera(day.cameras.get(one.name), one) for one in measured.drift},
        },
    )


def with_event(day: Day, label: str) -> Day:
    """Return the day with one object more; labels beyond 200 are counted together. Pure."""
    name = label if label in day.events or len(day.events) < _MAX_LABELS else _OTHER
    return replace(day, events={**day.events, name: day.events.get(name, 0) + 1})


def _with(spread: Spread | None, value: float) -> Spread:
    if spread is None:
        return Spread(count=1, mean=value, least=value, most=value)
    count = spread.count + 1
    return Spread(
        count=count,
        mean=spread.mean + (value - spread.mean) / count,
        least=min(spread.least, value),
        most=max(spread.most, value),
    )


def _stages(before: Mapping[str, StageDay], now: Mapping[str, StageMs]) -> dict[str, StageDay]:
    found = {}
    for name, stage in now.items():
        known = before.get(name)
        found[name] = StageDay(
            p50=_with(known.p50 if known else None, stage.p50),
            p95=_with(known.p95 if known else None, stage.p95),
        )
    return found


def _camera(before: CameraDay | None, report: DriftReport) -> CameraDay:
    known = before or CameraDay()
    drifted = dict(known.drifted)
    if report.cause:
        drifted[report.cause] = drifted.get(report.cause, 0) + 1
    figures = {
        name: _with(known.figures.get(name), value / report.usual[name])
        for name, value in report.found.items()
        if report.usual.get(name, 0.0) > 0
    }
    return CameraDay(
        judged=known.judged + (report.judged > 0),
        drifted=drifted,
        figures={**known.figures, **figures},
    )


def _read(path: Path, disk: Disk) -> Day:
    return parse_json(disk.read(path, _LIMIT), Day)
