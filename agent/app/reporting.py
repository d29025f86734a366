"""What tells of the device: to the broker, to `vigil status`, and to an OpenTelemetry collector."""

from __future__ import annotations

import logging
from collections.abc import Callable

from agent.app.device import Device
from agent.app.standing import Standing
from agent.errors import ConfigError
from agent.schema.messages import Telemetry
from agent.schema.snapshot import Snapshot
from agent.schema.topics import DeviceTopics
from agent.telemetry.delta import Deltas
from agent.telemetry.otlp import MetricExport
from agent.telemetry.outbox import Outbox
from agent.telemetry.reporter import Reporter, Sources
from agent.telemetry.status_file import StatusFile

log = logging.getLogger(__name__)


def make_reporter(
    standing: Standing,
    topics: DeviceTopics,
    outbox: Outbox,
    telemetry: Callable[[], Telemetry],
) -> Reporter:
    """Return what sends state, measurements and the outbox."""
    device = standing.device

    def counted() -> Telemetry:
        return device.days.measured(telemetry())

    return Reporter(
        topics,
        standing.link,
        outbox,
        Sources(standing.state, counted),
        device.interval_s,
        deltas=Deltas() if device.config.telemetry.deltas else None,
    )


def make_status_file(standing: Standing, telemetry: Callable[[], Telemetry]) -> StatusFile:
    """Return what writes the file that `vigil status` reads."""
    return StatusFile(
        folder=standing.device.runtime_folder,
        state=standing.state,
        telemetry=telemetry,
        worker_pid=lambda: standing.supervisor.worker_pid or 0,
        link=lambda: standing.link.description,
        last_frames_ns=lambda: standing.worker_watch.meters.last_frames_ns,
        disk=standing.device.disk,
    )


def make_exports(device: Device, snapshot: Callable[[], Snapshot]) -> list[MetricExport]:
    """Return what sends metrics to a collector, where one is configured and can be spoken to.

    A device whose collector cannot be spoken to sees all the same, so that is logged and no more.
    """
    config = device.config.opentelemetry
    if config is None:
        return []
    try:
        return [MetricExport(config, snapshot)]
    except ConfigError as error:
        log.error("the agent runs without OpenTelemetry: %s", error.diagnostics())
        return []
