"""All metrics, sent to an OpenTelemetry collector at intervals (OTLP over HTTP, protobuf).

Nothing is kept for later: a collector that was away sees a gap. What must not be lost goes through the outbox.
https://opentelemetry.io/docs/specs/otel/metrics/data-model/. The library is the extra `otlp`, and is loaded
only where a collector is configured.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from agent.errors import ConfigError
from agent.host.clock import wall_ms
from agent.host.token_file import read_token
from agent.schema.metrics import measure
from agent.schema.series import Kind, Metric, Sample

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics import export as otel

    from agent.schema.reporting import OpenTelemetryConfig
    from agent.schema.snapshot import Snapshot

logger = logging.getLogger(__name__)
TIMEOUT_S = 10.0
_LIBRARY_LOG = "opentelemetry.exporter.otlp.proto.http.metric_exporter"


class MetricExport:
    """Sends until stopped; a trouble is logged once.

    Attributes:
        interval_s: Time between two messages.

    Raises:
        ConfigError: The library is not installed, or the token or CA file cannot be used.
    """

    def __init__(self, config: OpenTelemetryConfig, snapshot: Callable[[], Snapshot]) -> None:
        self.interval_s = config.interval_s
        self._endpoint = config.endpoint
        self._snapshot = snapshot
        self._exporter = _exporter(config)
        self._reason = ""

    def run(self, stop: threading.Event) -> None:
        """Send at intervals until `stop`."""
        well = True
        while not stop.wait(self.interval_s):
            sent = self.send()
            if well and not sent:
                logger.warning("%s takes no metrics: %s", self._endpoint, self._reason)
            if sent and not well:
                logger.info("%s takes metrics again", self._endpoint)
            well = sent

    def send(self) -> bool:
        """Send the metrics of now; return whether the collector took them."""
        from opentelemetry.sdk.metrics.export import MetricExportResult

        data, reasons = metrics_data(self._snapshot()), _Reasons()
        library = logging.getLogger(_LIBRARY_LOG)
        library.addFilter(reasons)
        try:
            answer = self._exporter.export(data)
        finally:
            library.removeFilter(reasons)
        self._reason = reasons.first
        return answer is MetricExportResult.SUCCESS


def metrics_data(snapshot: Snapshot) -> otel.MetricsData:
    """Return the metrics of `snapshot` as OpenTelemetry has them; those that are not known are left out."""
    from opentelemetry.sdk.metrics import export as otel
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    state, telemetry = snapshot.state, snapshot.telemetry
    times_ns = (telemetry.totals.since_ms * 1_000_000 if telemetry else 0, wall_ms() * 1_000_000)
    resource = Resource(
        {
            "service.name": "vigil",
            "service.version": state.agent,
            "service.instance.id": state.device,
        }
    )
    metrics = [_metric(one, samples, *times_ns) for one, samples in measure(snapshot) if samples]
    scope = otel.ScopeMetrics(InstrumentationScope("vigil", state.agent), metrics, "")
    return otel.MetricsData([otel.ResourceMetrics(resource, [scope], "")])


def _metric(metric: Metric, samples: list[Sample], began_ns: int, now_ns: int) -> otel.Metric:
    from opentelemetry.sdk.metrics import export as otel

    points = [
        otel.NumberDataPoint(dict(zip(metric.labels, labels, strict=True)), began_ns, now_ns, value)
        for labels, value in samples
    ]
    data: otel.Sum | otel.Gauge = otel.Gauge(points)
    if metric.kind is Kind.COUNTER:
        data = otel.Sum(points, otel.AggregationTemporality.CUMULATIVE, is_monotonic=True)
    return otel.Metric(metric.name.removesuffix("_total"), metric.text, metric.unit, data)


def _exporter(config: OpenTelemetryConfig) -> OTLPMetricExporter:
    try:
        import requests
        from opentelemetry.exporter.otlp.proto.http import Compression
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    except ImportError as error:
        hint = "install it: pip install 'vigil-agent[otlp]'"
        message = f"opentelemetry: {error.name or error} is not installed"
        raise ConfigError(message, code="opentelemetry.missing", hint=hint) from error
    headers = {}
    if config.token_file is not None:
        token = read_token(Path(config.token_file), "opentelemetry.token_file")
        headers["Authorization"] = f"Bearer {token}"
    if config.ca is not None and not Path(config.ca).is_file():
        message = f"opentelemetry.ca: {config.ca}: no such file"
        raise ConfigError(message, code="opentelemetry.ca", hint="name the authority's PEM file")
    # An authority from the environment (REQUESTS_CA_BUNDLE) would go before the configured one.
    session = requests.Session()
    session.trust_env = False
    return OTLPMetricExporter(
        endpoint=config.endpoint,
        certificate_file=config.ca,
        session=session,
        headers=headers,
        timeout=TIMEOUT_S,
        compression=Compression.Gzip,
    )


class _Reasons(logging.Filter):
    """Keeps what the library says first of a failure, in place of a line in the log for each try."""

    first = ""

    def filter(self, record: logging.LogRecord) -> bool:
        """Remember the message and log nothing."""
        self.first = self.first or record.getMessage()
        return False
