"""Meters: what the serving worker did lately. Pure aggregation of its messages; thread-safe."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agent.host.clock import monotonic_ns
from agent.schema.camera_report import CameraReport
from agent.schema.ipc import FrameResult, Heartbeat
from agent.schema.messages import StageMs

WINDOW_S = 10.0
# Enough for the window at 200 frames per second, all cameras together.
SAMPLES = 2048


@dataclass(frozen=True)
class Reading:
    """One look at the meters.

    Attributes:
        fps: Frames inferred without error per second, all cameras together.
        stages: Milliseconds per stage (capture, queue, pre, infer, post, publish).
        errors: Frames of the window whose inference failed.
        frames: Frames without error.
        whole: Milliseconds from capture to result; None without frames.
        work: The same without the wait for the frame's turn.
    """

    fps: float
    stages: dict[str, StageMs]
    errors: int
    frames: int = 0
    whole: StageMs | None = None
    work: StageMs | None = None


@dataclass(frozen=True)
class _Sample:
    at_ns: int
    stages_ms: dict[str, float]
    failed: bool
    whole_ms: float

    @property
    def work_ms(self) -> float:
        return max(0.0, self.whole_ms - self.stages_ms.get("queue", 0.0))


@dataclass(frozen=True)
class _Counts:
    at_ns: int
    captured: int
    dropped: int


class Meters:
    """Collects frame results and heartbeats; `now_ns` is a monotonic clock."""

    def __init__(self, now_ns: Callable[[], int] = monotonic_ns) -> None:
        self._now_ns = now_ns
        self._started_ns = now_ns()
        self._samples: deque[_Sample] = deque(maxlen=SAMPLES)
        self._cameras: dict[str, CameraReport] = {}
        self._last_ns: dict[str, int] = {}
        self._counts: deque[_Counts] = deque(maxlen=SAMPLES)
        self._restarts = 0
        self._frames = self._failed = 0
        self._lock = threading.Lock()

    def frame(self, result: FrameResult) -> None:
        """Count one processed frame."""
        whole_ms = (result.finished_ns - result.captured_ns) / 1e6
        sample = _Sample(self._now_ns(), result.stages_ms, bool(result.error), whole_ms)
        with self._lock:
            self._samples.append(sample)
            self._frames += not sample.failed
            self._failed += sample.failed
            if not result.error:
                self._last_ns[result.camera] = result.finished_ns

    def heartbeat(self, beat: Heartbeat) -> None:
        """Remember what the worker says of its cameras."""
        with self._lock:
            self._cameras = {report.name: report for report in beat.cameras}
            captured = sum(report.captured for report in beat.cameras)
            dropped = sum(report.dropped for report in beat.cameras)
            if self._counts and captured < self._counts[-1].captured:
                self._counts.clear()  # another worker counts from nought
            self._counts.append(_Counts(self._now_ns(), captured, dropped))

    def restarted(self) -> None:
        """Count one unplanned restart of the worker."""
        with self._lock:
            self._restarts += 1

    @property
    def restarts(self) -> int:
        """Unplanned restarts of the worker since the agent started."""
        return self._restarts

    @property
    def totals(self) -> tuple[int, int]:
        """Frames with a result, and frames that failed, since the agent started."""
        with self._lock:
            return self._frames, self._failed

    def intake(self, window_s: float = WINDOW_S) -> tuple[float, float]:
        """Return frames a second that came from all cameras, and those that were not processed."""
        with self._lock:
            counts = list(self._counts)
        begin_ns = self._now_ns() - int(window_s * 1e9)
        recent = [one for one in counts if one.at_ns >= begin_ns]
        seconds = (recent[-1].at_ns - recent[0].at_ns) / 1e9 if recent else 0.0
        if seconds <= 0:
            return 0.0, 0.0
        came = recent[-1].captured - recent[0].captured
        dropped = recent[-1].dropped - recent[0].dropped
        return round(came / seconds, 2), round(dropped / seconds, 2)

    @property
    def last_frames_ns(self) -> dict[str, int]:
        """Monotonic instant of the last good frame of each camera."""
        with self._lock:
            return dict(self._last_ns)

    @property
    def cameras(self) -> list[CameraReport]:
        """Newest report of each camera, by name."""
        with self._lock:
            return sorted(self._cameras.values(), key=lambda report: report.name)

    def read(self, window_s: float = WINDOW_S) -> Reading:
        """Return rate, stages and errors of the last `window_s` seconds."""
        now_ns = self._now_ns()
        begin_ns = max(now_ns - int(window_s * 1e9), self._started_ns)
        with self._lock:
            samples = list(self._samples)
        if len(samples) == SAMPLES:
            begin_ns = max(begin_ns, samples[0].at_ns)
        recent = [sample for sample in samples if sample.at_ns >= begin_ns]
        good = [sample for sample in recent if not sample.failed]
        seconds = (now_ns - begin_ns) / 1e9
        fps = len(good) / seconds if seconds > 0 else 0.0
        return Reading(
            fps=round(fps, 2),
            stages=_stages([sample.stages_ms for sample in good]),
            errors=len(recent) - len(good),
            frames=len(good),
            whole=_stage([sample.whole_ms for sample in good]) if good else None,
            work=_stage([sample.work_ms for sample in good]) if good else None,
        )

    def snapshot(self) -> dict[str, StageMs]:
        """Return milliseconds per stage over the usual window."""
        return self.read().stages


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the nearest-rank percentile of ascending values: the smallest that `share` do not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _stages(samples: Sequence[dict[str, float]]) -> dict[str, StageMs]:
    names = {name: None for sample in samples for name in sample}
    return {name: _stage([sample[name] for sample in samples if name in sample]) for name in names}


def _stage(values_ms: list[float]) -> StageMs:
    values_ms.sort()
    p50, p95, p99 = (round(percentile(values_ms, share), 3) for share in (0.5, 0.95, 0.99))
    return StageMs(p50=p50, p95=p95, p99=p99)
