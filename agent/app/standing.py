"""What the agent says of itself: the state message, and the console's snapshot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agent import __version__
from agent.app.device import Device
from agent.app.head_seal import HeadSeal
from agent.app.policy_keeper import PolicyKeeper
from agent.config.trial import Sight
from agent.control.link import Link
from agent.drift.keeper import DriftKeeper
from agent.governor.governor import Governor
from agent.host.clock import boot_id, monotonic_ns, wall_ms
from agent.schema.config import DeviceConfig
from agent.schema.ipc import Heartbeat
from agent.schema.measures import ModelReport
from agent.schema.messages import MESSAGE_VERSION, Progress, State, Telemetry, UpdateReport
from agent.schema.snapshot import Snapshot
from agent.supervisor import Supervisor
from agent.telemetry.meters import Meters
from agent.update.installer import Updater
from agent.update.record import UpdateRecord


class UpdateWatch:
    """Remembers how far an update is; `on_report` is told how each one ended."""

    def __init__(self, on_report: Callable[[UpdateReport], None]) -> None:
        self._on_report = on_report
        self._last: UpdateReport | None = None
        self.progress: Progress | None = None

    def observe(self, record: UpdateRecord, progress: Progress | None) -> None:
        """Take a step of the updater."""
        self.progress = progress
        if record.last is not None and record.last != self._last:
            self._last = record.last
            self._on_report(record.last)


class WorkerWatch:
    """Remembers when the serving worker was last heard."""

    def __init__(self, meters: Meters) -> None:
        self.meters = meters
        self._beat_ns = 0

    def heard(self, beat: Heartbeat) -> None:
        """Take a sign of life."""
        self._beat_ns = monotonic_ns()
        self.meters.heartbeat(beat)

    @property
    def age_s(self) -> float | None:
        """Seconds since the last sign of life; None before the first."""
        return (monotonic_ns() - self._beat_ns) / 1e9 if self._beat_ns else None


@dataclass(frozen=True)
class Standing:
    """Composes the state from the parts that know it; called from several threads."""

    device: Device
    supervisor: Supervisor
    updater: Updater
    update_watch: UpdateWatch
    worker_watch: WorkerWatch
    policy: PolicyKeeper
    link: Link
    governor: Governor
    drift: DriftKeeper
    seal: HeadSeal
    unproven: Callable[[], str] = lambda: ""
    slow: Callable[[], str] = lambda: ""

    def state(self) -> State:
        """Return the state as it is now."""
        record, head = self.updater.record, self.device.ledger.head
        release, rung = self.supervisor.release, self.governor.rung
        return State(
            v=MESSAGE_VERSION,
            device=self.device.id,
            online=True,
            agent=__version__,
            boot=boot_id(),
            at_ms=wall_ms(),
            release=release.manifest.release_id if release else None,
            variant=release.variant.id if release else None,
            profile=self.device.profile.name,
            phase=record.phase,
            progress=self.update_watch.progress,
            last_update=record.last,
            floor=self.device.floor.stored_counter,
            policy_ver=self.policy.version,
            audit_head=head,
            audit_signature=self.seal.of(head),
            pipeline=self.supervisor.pipeline,
            problem=self.supervisor.problem,
            groups=self.device.config.device.groups,
            paused=[camera.name for camera in self.device.config.cameras if camera.paused],
            rung=rung.name if rung else "",
            rung_reason=self.governor.reason if rung else "",
            drifted=self.drift.drifted(),
            unproven=self.unproven(),
            slow=self.slow(),
            interval_ms=int(self.device.interval_s * 1000),
        )

    def sight(self, at_s: float) -> Sight:
        """Return what a change of settings is judged by."""
        cameras = {one.name: one.status for one in self.worker_watch.meters.cameras}
        return Sight(at_s, self.link.connected, self.supervisor.pipeline, cameras)

    @property
    def model(self) -> ModelReport:
        """Which model runs and what its update does."""
        release = self.supervisor.release
        return ModelReport(
            release=release.manifest.release_id if release else None,
            variant=release.variant.id if release else None,
            phase=self.updater.record.phase.value,
        )

    def snapshot(self, telemetry: Telemetry) -> Snapshot:
        """Return what the console shows."""
        release = self.supervisor.release
        return Snapshot(
            state=self.state(),
            telemetry=telemetry,
            cameras=tuple(self.worker_watch.meters.cameras),
            labels=tuple(release.manifest.labels) if release else (),
            heartbeat_age_s=self.worker_watch.age_s,
            link_connected=self.link.connected,
            link=self.link.description,
        )


def offline_state(device: DeviceConfig) -> State:
    """Return the last will."""
    return State(v=MESSAGE_VERSION, device=device.id, online=False)
