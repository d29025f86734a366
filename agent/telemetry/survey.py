"""The survey: one `Telemetry` message from meters, sensors, processes and outbox."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.host.clock import boot_id, wall_ms
from agent.host.processes import pss_mb
from agent.host.sensors import temperature_c
from agent.schema.events import StoreReport
from agent.schema.governor import GovernorReport
from agent.schema.messages import MESSAGE_VERSION, Progress, Telemetry

if TYPE_CHECKING:
    from agent.telemetry.meters import Meters
    from agent.telemetry.outbox import Outbox


# Adding up a process's pages takes the kernel milliseconds, and memory does not change faster.
_MEMORY_S = 10.0


@dataclass(frozen=True)
class Ports:
    """What the survey asks the other parts.

    Attributes:
        worker_pid: Process id of the worker, 0 for none.
        reconnects: Links made again.
        governor: Where the governor stands; None while nothing serves.
        progress: How far a transfer is; None while there is none.
        events: How full the event store is.
    """

    worker_pid: Callable[[], int]
    reconnects: Callable[[], int]
    governor: Callable[[], GovernorReport | None] = lambda: None
    progress: Callable[[], Progress | None] = lambda: None
    events: Callable[[], StoreReport | None] = lambda: None


class Survey:
    """Measures when called; rates and percentiles look back `interval_s` seconds."""

    def __init__(
        self, device: str, interval_s: float, meters: Meters, outbox: Outbox, ports: Ports
    ) -> None:
        self._device = device
        self._boot = boot_id()
        self._interval_s = interval_s
        self._meters = meters
        self._outbox = outbox
        self._ports = ports
        self._memory_mb = (0.0, 0.0)
        self._weighed_s = -_MEMORY_S
        self._weighed_worker = 0

    def __call__(self) -> Telemetry:
        """Return the measurements of the last interval."""
        reading = self._meters.read(self._interval_s)
        control_mb, worker_mb = self._weigh()
        return Telemetry(
            v=MESSAGE_VERSION,
            device=self._device,
            boot=self._boot,
            at_ms=wall_ms(),
            interval_ms=int(self._interval_s * 1000),
            fps=reading.fps,
            stages=reading.stages,
            cameras=self._meters.cameras,
            worker_restarts=self._meters.restarts,
            control_pss_mb=control_mb,
            worker_pss_mb=worker_mb,
            temperature_c=temperature_c(),
            outbox_messages=self._outbox.size,
            outbox_dropped=self._outbox.dropped,
            link_reconnects=self._ports.reconnects(),
            governor=self._ports.governor(),
            progress=self._ports.progress(),
            events=self._ports.events(),
        )

    def _weigh(self) -> tuple[float, float]:
        worker = self._ports.worker_pid()
        is_due = time.monotonic() - self._weighed_s >= _MEMORY_S
        if is_due or worker != self._weighed_worker:
            self._weighed_s, self._weighed_worker = time.monotonic(), worker
            worker_mb = pss_mb(worker) if worker else 0.0
            self._memory_mb = (round(pss_mb(os.getpid()), 1), round(worker_mb, 1))
        return self._memory_mb
