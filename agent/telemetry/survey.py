"""The survey: one `Telemetry` message from meters, sensors, processes and outbox."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.host.clock import boot_id, wall_ms
from agent.host.sensors import temperature_c
from agent.schema.drift import DriftReport
from agent.schema.events import StoreReport
from agent.schema.governor import GovernorReport
from agent.schema.measures import LinkQuality, ModelReport, OutboxReport, Totals
from agent.schema.messages import MESSAGE_VERSION, Progress, Telemetry
from agent.schema.pace import PaceReport
from agent.schema.shadow import ShadowProgress
from agent.telemetry.spool import Priority
from agent.telemetry.watch import Watch

if TYPE_CHECKING:
    from pathlib import Path

    from agent.telemetry.meters import Meters
    from agent.telemetry.outbox import Outbox


@dataclass(frozen=True)
class Ports:
    """What the survey asks the other parts.

    Attributes:
        worker_pid: Process id of the worker, 0 for none.
        link: How the connection to the broker is.
        model: Which model runs.
        governor: Where the governor stands; None while nothing serves.
        progress: How far a transfer is; None while there is none.
        events: How full the event store is.
        drift: How every camera stands to what the model was made for.
        shadow: How far the comparison with another model is.
        pace: How quick the stages are beside this device's past.
    """

    worker_pid: Callable[[], int]
    link: Callable[[], LinkQuality] = LinkQuality
    model: Callable[[], ModelReport] = ModelReport
    governor: Callable[[], GovernorReport | None] = lambda: None
    progress: Callable[[], Progress | None] = lambda: None
    events: Callable[[], StoreReport | None] = lambda: None
    drift: Callable[[], list[DriftReport]] = list
    shadow: Callable[[], ShadowProgress | None] = lambda: None
    pace: Callable[[], PaceReport | None] = lambda: None


@dataclass(frozen=True)
class Subject:
    """Whose measurements they are: the device, where it keeps its state, and the time between two messages."""

    device: str
    folder: Path
    interval_s: float


class Survey:
    """Measures when called; rates and percentiles look back over one interval."""

    def __init__(self, subject: Subject, meters: Meters, outbox: Outbox, ports: Ports) -> None:
        self._subject = subject
        self._boot = boot_id()
        self._began_ms = wall_ms()
        self._meters = meters
        self._outbox = outbox
        self._ports = ports
        self._watch = Watch(subject.folder)

    def __call__(self) -> Telemetry:
        """Return the measurements of the last interval."""
        interval_s = self._subject.interval_s
        reading, link = self._meters.read(interval_s), self._ports.link()
        fps_in, fps_dropped = self._meters.intake(interval_s)
        look = self._watch.look(self._ports.worker_pid())
        outbox = self._outbox_report(look.written_mb_day)
        frames, failed = self._meters.totals
        return Telemetry(
            v=MESSAGE_VERSION,
            device=self._subject.device,
            boot=self._boot,
            at_ms=wall_ms(),
            interval_ms=int(interval_s * 1000),
            fps=reading.fps,
            fps_in=fps_in,
            fps_dropped=fps_dropped,
            stages=reading.stages,
            cameras=self._meters.cameras,
            worker_restarts=self._meters.restarts,
            control_pss_mb=look.control_mb,
            worker_pss_mb=look.worker_mb,
            temperature_c=temperature_c(),
            board=look.board,
            outbox=outbox,
            outbox_messages=outbox.messages,
            outbox_dropped=sum(outbox.dropped.values()),
            link=link,
            link_reconnects=link.reconnects,
            model=self._ports.model(),
            totals=Totals(since_ms=self._began_ms, frames=frames, failed=failed),
            governor=self._ports.governor(),
            progress=self._ports.progress(),
            events=self._ports.events(),
            drift=self._ports.drift(),
            shadow=self._ports.shadow(),
            pace=self._ports.pace(),
        )

    def _outbox_report(self, process_mb_day: float | None) -> OutboxReport:
        drops = self._outbox.drops
        return OutboxReport(
            messages=self._outbox.size,
            oldest_s=round(self._outbox.oldest_s, 1),
            dropped={one.name.lower(): drops.get(one, 0) for one in Priority},
            written_mb_day=self._watch.per_day(self._outbox.written_bytes),
            process_written_mb_day=process_mb_day,
        )
