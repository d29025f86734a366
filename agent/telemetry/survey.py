"""The survey: one `Telemetry` message from meters, sensors, processes and outbox."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.host.clock import wall_ms
from agent.host.processes import pss_mb
from agent.host.sensors import temperature_c
from agent.schema.messages import MESSAGE_VERSION, Telemetry

if TYPE_CHECKING:
    from agent.telemetry.meters import Meters
    from agent.telemetry.outbox import Outbox


@dataclass(frozen=True)
class Survey:
    """Measures when called.

    Attributes:
        boot: The kernel's boot id.
        interval_s: Seconds that rates and percentiles look back.
        worker_pid: Process id of the serving worker, 0 without one.
        reconnects: How often the link has reconnected.
    """

    device: str
    boot: str
    interval_s: float
    meters: Meters
    outbox: Outbox
    worker_pid: Callable[[], int]
    reconnects: Callable[[], int]

    def __call__(self) -> Telemetry:
        """Return the measurements of the last interval."""
        reading = self.meters.read(self.interval_s)
        worker = self.worker_pid()
        return Telemetry(
            v=MESSAGE_VERSION,
            device=self.device,
            boot=self.boot,
            at_ms=wall_ms(),
            interval_ms=int(self.interval_s * 1000),
            fps=reading.fps,
            stages=reading.stages,
            cameras=self.meters.cameras,
            worker_restarts=self.meters.restarts,
            control_pss_mb=round(pss_mb(os.getpid()), 1),
            worker_pss_mb=round(pss_mb(worker), 1) if worker else 0.0,
            temperature_c=temperature_c(),
            outbox_messages=self.outbox.size,
            outbox_dropped=self.outbox.dropped,
            link_reconnects=self.reconnects(),
        )
