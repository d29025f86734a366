"""One function per flow: takes what the flow needs, returns it connected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from agent import __version__
from agent.app.device import Device
from agent.app.policy_keeper import PolicyKeeper
from agent.app.standing import UpdateWatch
from agent.config.reading import filmed
from agent.control.link.links import Links
from agent.control.renewal import Renewal
from agent.drift.keeper import DriftKeeper
from agent.drift.keeper import Ports as DriftPorts
from agent.governor.governor import Governor, Ports, Rules
from agent.governor.ladder import Rates
from agent.governor.ports import Speed, Throttle
from agent.governor.sensing import Senses
from agent.governor.situation import Limits, Pace
from agent.host.clock import boot_id, wall_ms
from agent.host.pressure import memory_pressure
from agent.host.processes import pss_mb
from agent.host.sensors import temperature_c
from agent.models.store import InstalledRelease
from agent.schema.drift import DriftNotice
from agent.schema.governor import GovernorMove
from agent.schema.manifest import Manifest
from agent.schema.pace import PaceReport
from agent.schema.values import BackendName
from agent.supervisor import Conversation, Listeners, Supervisor, WorkerSettings
from agent.supervisor.engines import BuildLimits, Engines
from agent.telemetry.meters import Meters
from agent.telemetry.pace_keeper import PaceKeeper
from agent.telemetry.pace_keeper import Ports as PacePorts
from agent.update.grants import KeyBroker
from agent.update.installer import Updater
from agent.update.journal import Journal
from agent.update.metered import Meter
from agent.update.pace import PaceLimits
from agent.update.ports import Source, Strain
from agent.update.probation import ProbationLimits, limits_for
from agent.update.sources.blocks import BlockLimits, BlockSource
from agent.update.sources.https import HttpsLimits, web_source
from agent.update.staging import Stager
from agent.update.trust_client import TrustClient


def make_engines(device: Device) -> Engines | None:
    """Return what builds TensorRT engines, None on a board without TensorRT."""
    if BackendName.TENSORRT not in device.facts.backends:
        return None
    usable_mb = device.facts.memory_mb * 3 // 4 or BuildLimits.memory_mb
    limits = BuildLimits(
        memory_mb=min(usable_mb, BuildLimits.memory_mb),
        workspace_mb=device.profile.runtime.workspace_mb,
    )
    return Engines(device.engines, limits, device.opener.payload)


def make_supervisor(
    device: Device,
    listeners: Listeners,
    engines: Engines | None = None,
    held: Callable[[], str] = lambda: "",
) -> Supervisor:
    """Return the supervisor of the workers; it starts them once its loop runs.

    Motion gates may keep frames from the model only while `held` names no reason against it.
    """
    settings = worker_settings(device)
    conversation = Conversation(
        settings,
        device.opener.payload,
        device.opener.golden,
        engines,
        device.record_trial,
        lambda: not held(),
    )
    return Supervisor(settings, conversation, listeners, _strain)


def worker_settings(device: Device) -> WorkerSettings:
    """Return how this device's workers are started."""
    config, profile = device.config, device.profile
    return WorkerSettings(
        device=device.id,
        boot=boot_id(),
        cameras=filmed(config),
        detect=config.detect,
        events=config.events,
        drift=config.drift,
        default_fps=profile.camera.fps,
        threads=min(profile.runtime.threads, device.facts.cores),
        streams=profile.runtime.streams,
        memory_mb=config.update.worker_memory_mb,
        providers=profile.runtime.providers,
        delegates=profile.runtime.delegates,
        two_models=profile.limits.two_models,
        min_agreement=config.update.probation.min_agreement,
        trial_timeout_s=config.update.trial_timeout_s,
    )


def _strain(worker_pid: int | None) -> Strain:
    return Strain(
        temperature_c=temperature_c(),
        memory_pressure=memory_pressure(),
        worker_mb=pss_mb(worker_pid) if worker_pid else None,
    )


def make_link_meter(device: Device) -> Meter:
    """Return what counts the bytes of the day on a link that costs money."""
    return Meter(device.config.update.metered, device.folder / "metered.json", device.disk)


def make_stager(device: Device, links: Links, meter: Meter) -> Stager:
    """Return what brings releases from the repository to the store, by web where there is one, then MQTT blocks."""
    limits, identity = device.config.update, device.config.device
    pace = PaceLimits(limits.min_rate_kib_s * 1024, deadline_s=limits.transfer_timeout_s)
    sources: list[Source] = [BlockSource(links.channel("blk"), BlockLimits(pace=pace))]
    if limits.repository is not None:
        sources.insert(0, web_source(limits.repository, HttpsLimits(pace=pace)))
    trust = TrustClient(
        device.folder / "tuf", device.trust_root, device.floor, identity.device_class
    )
    return Stager(
        trust=trust,
        sources=sources,
        meter=meter,
        store=device.store,
        opener=device.opener,
        keys=KeyBroker(links.channel("key")),
        floor=device.floor,
        choose=device.choose,
        device_class=identity.device_class,
        agent_version=__version__,
        disk=device.disk,
        deadline_s=limits.transfer_timeout_s,
        fallback_variants=limits.fallback_variants if device.config.governor.enabled else 0,
    )


def make_renewal(device: Device, links: Links) -> list[Renewal]:
    """Return what renews the certificate, where the link shows one."""
    tls = device.config.broker.tls
    return [Renewal(device.id, tls, links.channel("crt"), device.disk)] if tls is not None else []


def make_governor(
    device: Device,
    throttle: Throttle,
    meters: Meters,
    held: Callable[[], str],
    on_move: Callable[[GovernorMove], None],
) -> Governor:
    """Return the governor of what `throttle` runs; its limits are the profile's unless configured."""
    config, profile = device.config.governor, device.profile

    def costs_ms(release: InstalledRelease) -> dict[str, float | None]:
        verdicts = device.choose(release.manifest).verdicts
        return {verdict.variant: verdict.expected_ms for verdict in verdicts}

    def speed(window_s: float) -> Speed | None:
        found = meters.read(window_s)
        if found.whole is None or found.work is None:
            return None
        queue = found.stages.get("queue")
        queue_ms = queue.p95 if queue else 0.0
        return Speed(found.frames, found.whole.p95, found.work.p95, queue_ms)

    cameras = filmed(device.config)
    full = max((camera.fps or profile.camera.fps for camera in cameras), default=1.0)
    rules = Rules(
        Limits(
            latency_ms=config.max_p95_ms or profile.limits.latency_ms,
            temperature_c=config.max_temperature_c or profile.limits.temperature_c,
            memory_pressure=config.max_memory_pressure,
        ),
        Pace(dwell_s=config.dwell_s, climb_s=max(config.climb_s, config.dwell_s)),
        Rates(full, profile.limits.target_fps, len(cameras)),
    )
    ports = Ports(throttle, speed, costs_ms, held, on_move)
    return Governor(device.id, ports, rules, Senses())


def make_drift(
    device: Device, supervisor: Supervisor, on_change: Callable[[DriftNotice], None]
) -> DriftKeeper:
    """Return what judges whether cameras still show what the model was made for."""
    ports = DriftPorts(lambda: supervisor.release, on_change)
    return DriftKeeper(device.id, device.folder, ports, device.disk)


def make_pace(
    device: Device,
    supervisor: Supervisor,
    meters: Meters,
    held: Callable[[], str],
    on_change: Callable[[PaceReport], None],
) -> PaceKeeper:
    """Return what judges whether frames take longer than they did; not beside an update's trial or probation."""
    settings = worker_settings(device)

    def setting() -> str:
        release = supervisor.release
        if release is None or held():
            return ""
        cameras, threads = len(settings.cameras), f"{settings.threads} threads"
        if settings.streams > 1:
            threads += f" in {settings.streams} streams"
        return f"{release.ref.sha256}/{release.variant.id}/{cameras} cameras/{threads}"

    ports = PacePorts(setting, lambda: supervisor.worker_pid or 0, on_change)
    return PaceKeeper(device.folder, meters, ports, disk=device.disk)


def make_updater(
    device: Device,
    stager: Stager,
    host: Supervisor,
    watch: UpdateWatch,
    between: Callable[[], None],
) -> Updater:
    """Return the updater; between updates its thread calls `between`."""

    def limits_of(manifest: Manifest) -> ProbationLimits:
        config = device.config
        limits = limits_for(config.update.probation, manifest.probation, device.profile.limits)
        return limits if filmed(config) else replace(limits, frames=0)

    return Updater(
        Journal(device.folder, device.disk),
        stager,
        host,
        limits_of,
        watch.observe,
        between=between,
    )


def make_policy_keeper(
    device: Device, stager: Stager, connected: Callable[[], bool]
) -> PolicyKeeper:
    """Return what keeps the command policy new; what is not authentic goes to the audit record."""

    def refused(code: str, reason: str) -> None:
        device.ledger.refuse(code, reason, wall_ms())

    return PolicyKeeper(policy_path(device), stager, connected, device.disk, refused)


def policy_path(device: Device) -> Path:
    """Return where the verified command policy lies."""
    return device.folder / "policy.json"
