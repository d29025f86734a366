"""What is known of the serving model since it took over."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from agent.host.clock import monotonic_ns
from agent.schema.ipc import FrameResult
from agent.update.ports import Health, Strain

_LATENCIES = 512


class HealthWindow:
    """Collects what the serving worker reports; read by the updater.

    Args:
        strain: Says what the board bears, given the process id of the serving worker.
    """

    def __init__(self, strain: Callable[[int | None], Strain]) -> None:
        self._strain = strain
        self._lock = threading.Lock()
        self._latencies_ms: deque[float] = deque(maxlen=_LATENCIES)
        self.last_result_ns = 0
        self.begin()

    def begin(self) -> None:
        """Forget everything but when the last result was: another model serves now."""
        with self._lock:
            self._latencies_ms.clear()
            self._frames = self._errors = self._restarts = 0
            self._since_ns = monotonic_ns()

    @property
    def silence_s(self) -> float:
        """Seconds since the last result of any model; very large when there was none."""
        return (monotonic_ns() - self.last_result_ns) / 1e9

    def frame(self, result: FrameResult) -> None:
        """Count one processed frame."""
        with self._lock:
            self.last_result_ns = result.finished_ns
            self._frames += 1
            self._errors += bool(result.error)
            self._latencies_ms.append(result.stages_ms.get("infer", 0.0))

    def restarted(self) -> None:
        """Count one unplanned restart of the worker."""
        with self._lock:
            self._restarts += 1

    def read(self, worker_pid: int | None) -> Health:
        """Return the counts as they are now; `p95_ms` is of inference over the last 512 frames."""
        strain = self._strain(worker_pid)
        with self._lock:
            ordered = sorted(self._latencies_ms)
            p95_ms = ordered[int(0.95 * (len(ordered) - 1))] if ordered else 0.0
            return Health(
                frames=self._frames,
                errors=self._errors,
                p95_ms=p95_ms,
                restarts=self._restarts,
                seconds=(monotonic_ns() - self._since_ns) / 1e9,
                strain=strain,
            )
