"""The snapshot as Prometheus metrics (text format 0.0.4, https://prometheus.io/docs/instrumenting/exposition_formats/).

Everything is made from the snapshot when somebody scrapes; which metrics there are says `agent.schema.metrics`.
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from agent.schema.metrics import measure
from agent.schema.series import Kind
from agent.schema.snapshot import Snapshot

CONTENT_TYPE = CONTENT_TYPE_LATEST
_FAMILY = {Kind.GAUGE: GaugeMetricFamily, Kind.COUNTER: CounterMetricFamily}


def exposition(snapshot: Snapshot) -> bytes:
    """Return the metrics of `snapshot`; those that are not known now are left out."""
    registry = CollectorRegistry()
    registry.register(_SnapshotCollector(snapshot))
    return generate_latest(registry)


class _SnapshotCollector(Collector):
    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterable[Metric]:
        for metric, samples in measure(self._snapshot):
            if samples:
                family = _FAMILY[metric.kind](metric.name, metric.text, labels=metric.labels)
                for labels, value in samples:
                    family.add_metric(labels, value)
                yield family
