"""Every camera's judge: fed with the worker's figures, kept over restarts, and heard where one changes its mind.

Judges belong to one release. What they know is written when it would be a loss: a change of state, a view that was
learned, the end of the agent. A power cut in between costs a window that fills again in a minute.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec

from agent.drift.judge import DRIFTED, USUAL_RULES, Judge, Memory, Rules
from agent.errors import StorageError
from agent.host.clock import wall_ms
from agent.host.disk import REAL_DISK, Disk
from agent.models.store import InstalledRelease
from agent.schema.document import Malformed, parse_msgpack
from agent.schema.drift import BASELINE_VERSION, DriftNotice, DriftReport, FrameFigures
from agent.schema.ipc import FrameResult
from agent.schema.messages import MESSAGE_VERSION
from agent.schema.values import Sha256, Struct

log = logging.getLogger(__name__)

FILE = "drift.msgpack"
_LIMIT = 16 << 20
_WAITING = 256
_LOOK_S = 0.5


class Kept(Struct):
    """The file: judges by camera and variant, of one release."""

    release: Sha256
    judges: dict[str, dict[str, Memory]]


class _Seen(NamedTuple):
    camera: str
    figures: FrameFigures
    release: InstalledRelease


class _Forget(NamedTuple):
    camera: str


@dataclass(frozen=True)
class Ports:
    """What the keeper needs of the agent.

    Attributes:
        serving: The release whose results are being reported.
        on_change: Told whenever a camera's state or cause changes, from the keeper's loop.
    """

    serving: Callable[[], InstalledRelease | None]
    on_change: Callable[[DriftNotice], None]


class DriftKeeper:
    """Judges in a loop of its own.

    Args:
        device: Its id.
        folder: Where the judges' memory is kept.
        ports: The rest of the agent.
        disk: Where to write.
        rules: When a camera has drifted.
    """

    def __init__(
        self,
        device: str,
        folder: Path,
        ports: Ports,
        disk: Disk = REAL_DISK,
        rules: Rules = USUAL_RULES,
    ) -> None:
        self._device, self._path, self._disk = device, folder / FILE, disk
        self._ports, self._rules = ports, rules
        self._waiting: queue.Queue[_Seen | _Forget] = queue.Queue(_WAITING)
        self._kept = self._read()
        self._release = self._kept.release if self._kept else ""
        self._judges: dict[str, dict[str, Judge]] = {}
        self._saved: object = None
        self._reports: dict[str, DriftReport] = {}

    def frame(self, result: FrameResult) -> None:
        """Take a result of the serving worker, measured or not; any thread, never blocks."""
        release = self._ports.serving()
        if result.figures is not None and release is not None:
            self._put(_Seen(result.camera, result.figures, release))

    def forget_view(self, camera: str) -> None:
        """Let a camera's view be learned anew; any thread, never blocks."""
        self._put(_Forget(camera))

    def reports(self) -> list[DriftReport]:
        """Return how every camera stands, by name; nothing for a release without a baseline."""
        release = self._ports.serving()
        if release is None or release.ref.sha256 != self._release:
            return []
        return [report for _, report in sorted(self._reports.items())]

    def drifted(self) -> dict[str, str]:
        """Return the causes of the cameras that have drifted."""
        return {one.name: one.cause for one in self.reports() if one.state == DRIFTED}

    def run(self, stop: threading.Event) -> None:
        """Judge until `stop` is set, then write what is known."""
        while not stop.is_set():
            try:
                self._take(self._waiting.get(timeout=_LOOK_S))
            except queue.Empty:
                self._save_changes()
        self._save()

    def _put(self, item: _Seen | _Forget) -> None:
        try:
            self._waiting.put_nowait(item)
        except queue.Full:
            log.debug("a frame is not judged: the judges are behind")

    def _take(self, item: _Seen | _Forget) -> None:
        if isinstance(item, _Forget):
            for each in self._judges.get(item.camera, {}).values():
                each.forget_view()
            return
        judge = self._judge(item.camera, item.release)
        if judge is None:
            return
        has_changed = judge.take(item.figures)
        self._reports = {**self._reports, item.camera: judge.report}
        if has_changed:
            self._ports.on_change(self._notice(item.release, judge.report))

    def _judge(self, camera: str, release: InstalledRelease) -> Judge | None:
        """Return who judges a camera by this release's variant; None where nobody knows what is usual."""
        if release.ref.sha256 != self._release:
            self._release, self._kept = release.ref.sha256, None
            self._judges, self._reports = {}, {}
        variant, baseline = release.variant.id, release.manifest.drift_baseline
        periods = baseline.variants.get(variant)
        if not periods or baseline.v != BASELINE_VERSION:
            return None
        judges = self._judges.setdefault(camera, {})
        if variant not in judges:
            judges[variant] = Judge(camera, periods, baseline.night_below, self._rules)
            known = self._kept.judges.get(camera, {}).get(variant) if self._kept else None
            if known is not None:
                judges[variant].recall(known)
        return judges[variant]

    def _notice(self, release: InstalledRelease, report: DriftReport) -> DriftNotice:
        return DriftNotice(
            v=MESSAGE_VERSION,
            device=self._device,
            at_ms=wall_ms(),
            release=release.manifest.release_id,
            variant=release.variant.id,
            report=report,
        )

    # what is kept over restarts -----------------------------------------------------------------------

    def _read(self) -> Kept | None:
        if not self._disk.exists(self._path):
            return None
        try:
            kept: Kept = parse_msgpack(self._disk.read(self._path, _LIMIT), Kept)
        except (Malformed, StorageError) as error:
            log.warning("the usual views of the cameras are learned anew: %s", error)
            return None
        return kept

    def _save_changes(self) -> None:
        standing = [
            (camera, variant, judge.report.state, judge.report.cause, judge.views)
            for camera, judges in self._judges.items()
            for variant, judge in judges.items()
        ]
        if standing != self._saved:
            self._saved = standing
            self._save()

    def _save(self) -> None:
        if not self._judges:
            return
        known = self._kept.judges if self._kept else {}
        fresh = {
            camera: {variant: judge.memory() for variant, judge in judges.items()}
            for camera, judges in self._judges.items()
        }
        merged = {
            camera: {**known.get(camera, {}), **fresh.get(camera, {})}
            for camera in known.keys() | fresh.keys()
        }
        data = msgspec.msgpack.encode(Kept(release=self._release, judges=merged))
        try:
            self._disk.write_atomic(self._path, data)
        except StorageError as error:
            log.warning("the usual views of the cameras are not kept: %s", error)
