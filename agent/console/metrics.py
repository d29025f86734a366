"""The snapshot as Prometheus metrics (text format 0.0.4, https://prometheus.io/docs/instrumenting/exposition_formats/).

Everything is made from the snapshot when somebody scrapes; base units (seconds, bytes) as Prometheus asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from agent.console.sources import Snapshot
from agent.schema.messages import Phase, StageMs, Telemetry

CONTENT_TYPE = CONTENT_TYPE_LATEST
_MIB = 1024 * 1024
_QUANTILES = {"0.5": "p50", "0.95": "p95", "0.99": "p99"}


def exposition(snapshot: Snapshot, viewers: int) -> bytes:
    """Return the metrics of `snapshot` and the number of live `viewers`."""
    registry = CollectorRegistry()
    registry.register(_SnapshotCollector(snapshot, viewers))
    return generate_latest(registry)


class _SnapshotCollector(Collector):
    def __init__(self, snapshot: Snapshot, viewers: int) -> None:
        self._snapshot = snapshot
        self._viewers = viewers

    def collect(self) -> Iterable[Metric]:
        yield from _agent(self._snapshot)
        yield from _cameras(self._snapshot)
        if self._snapshot.telemetry is not None:
            yield from _telemetry(self._snapshot.telemetry)
        yield GaugeMetricFamily("vigil_console_viewers", "Open live views.", self._viewers)


def _agent(snapshot: Snapshot) -> Iterator[Metric]:
    state = snapshot.state
    info = {
        "device": state.device,
        "agent": state.agent,
        "release": state.release or "",
        "variant": state.variant or "",
        "profile": state.profile,
    }
    yield _labelled(GaugeMetricFamily, "vigil_info", "What runs here.", info, 1)
    phase = GaugeMetricFamily("vigil_update_phase", "1 for the present phase.", labels=["phase"])
    for each in Phase:
        phase.add_metric([each.value], float(each is state.phase))
    yield phase
    yield GaugeMetricFamily("vigil_release_floor", "Least release accepted.", state.floor)
    yield GaugeMetricFamily("vigil_link_up", "Broker connection.", float(snapshot.link_connected))
    if snapshot.heartbeat_age_s is not None:
        text = "Time since the worker was heard."
        yield GaugeMetricFamily(
            "vigil_worker_heartbeat_age_seconds", text, snapshot.heartbeat_age_s
        )


def _cameras(snapshot: Snapshot) -> Iterator[Metric]:
    up = GaugeMetricFamily("vigil_camera_up", "1 while it streams.", labels=["camera"])
    fps = GaugeMetricFamily("vigil_camera_fps", "Processed frames a second.", labels=["camera"])
    frames = CounterMetricFamily("vigil_camera_frames", "Frames.", labels=["camera", "kind"])
    again = CounterMetricFamily("vigil_camera_reconnects", "Reopened.", labels=["camera"])
    for camera in snapshot.cameras:
        up.add_metric([camera.name], float(camera.status == "streaming"))
        fps.add_metric([camera.name], camera.fps)
        again.add_metric([camera.name], camera.reconnects)
        for kind in ("captured", "processed", "dropped"):
            frames.add_metric([camera.name, kind], getattr(camera, kind))
    yield from (up, fps, frames, again)


def _telemetry(telemetry: Telemetry) -> Iterator[Metric]:
    yield GaugeMetricFamily("vigil_fps", "Processed frames a second, all cameras.", telemetry.fps)
    yield _stages(telemetry.stages)
    memory = GaugeMetricFamily("vigil_memory_bytes", "PSS by process.", labels=["process"])
    memory.add_metric(["control"], telemetry.control_pss_mb * _MIB)
    memory.add_metric(["worker"], telemetry.worker_pss_mb * _MIB)
    yield memory
    if telemetry.temperature_c is not None:
        text = "Hottest sensor."
        yield GaugeMetricFamily("vigil_temperature_celsius", text, telemetry.temperature_c)
    if telemetry.governor is not None:
        text = "The governor's rung, 0 is the best."
        yield GaugeMetricFamily("vigil_governor_rung", text, telemetry.governor.index)
    drifted = GaugeMetricFamily(
        "vigil_camera_drifted", "1 while it drifted.", labels=["camera", "cause"]
    )
    for report in telemetry.drift:
        drifted.add_metric([report.camera, report.cause], float(bool(report.cause)))
    yield drifted
    text = "Messages waiting on disk."
    yield GaugeMetricFamily("vigil_outbox_messages", text, telemetry.outbox_messages)
    text = "Messages given up."
    yield CounterMetricFamily("vigil_outbox_dropped", text, telemetry.outbox_dropped)
    text = "Broker reconnects."
    yield CounterMetricFamily("vigil_link_reconnects", text, telemetry.link_reconnects)
    text = "Worker restarts."
    yield CounterMetricFamily("vigil_worker_restarts", text, telemetry.worker_restarts)


def _stages(stages: Mapping[str, StageMs]) -> Metric:
    labels = ["stage", "quantile"]
    family = GaugeMetricFamily("vigil_stage_seconds", "Time per frame and stage.", labels=labels)
    for stage, value in stages.items():
        for quantile, field in _QUANTILES.items():
            family.add_metric([stage, quantile], getattr(value, field) / 1000)
    return family


def _labelled(
    kind: type[GaugeMetricFamily], name: str, text: str, labels: Mapping[str, str], value: float
) -> Metric:
    family = kind(name, text, labels=list(labels))
    family.add_metric(list(labels.values()), value)
    return family
