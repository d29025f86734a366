"""Metrics at a real HTTP server that reads them as a collector does."""

from __future__ import annotations

import gzip
import logging
import ssl
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

from agent.errors import ConfigError
from agent.schema.metrics import INFO, METRICS
from agent.schema.reporting import OpenTelemetryConfig
from agent.schema.series import Kind
from agent.telemetry import otlp
from agent.telemetry.otlp import MetricExport
from tests.parts.processes import until
from tests.parts.snapshots import FULL

TOKEN = "a collector's bearer token"
PATH = "/v1/metrics"


class Collector:
    """Keeps what it is sent; answers `status`."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.heard: list[ExportMetricsServiceRequest] = []
        self.tokens: list[str] = []
        self.status = 200
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path == PATH and outer.status == 200:
                    assert self.headers["Content-Encoding"] == "gzip"
                    request = ExportMetricsServiceRequest.FromString(gzip.decompress(body))
                    outer.heard.append(request)
                outer.tokens.append(self.headers["Authorization"] or "")
                answer = ExportMetricsServiceResponse().SerializeToString()
                self.send_response(outer.status)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        scheme = "http" if tls is None else "https"
        self.url = f"{scheme}://localhost:{self._server.server_port}{PATH}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.stop()


def test_a_collector_gets_every_metric_with_unit_kind_and_labels(collector: Collector) -> None:
    assert MetricExport(OpenTelemetryConfig(endpoint=collector.url), lambda: FULL).send()
    ((resource,),) = [list(request.resource_metrics) for request in collector.heard]
    who = {one.key: one.value.string_value for one in resource.resource.attributes}
    assert (who["service.name"], who["service.instance.id"]) == ("vigil", "line-3")
    (scope,) = resource.scope_metrics
    sent = {one.name: one for one in scope.metrics}
    for one in (INFO, *METRICS):
        found = sent.pop(one.name.removesuffix("_total"))
        is_counter = one.kind is Kind.COUNTER
        assert (found.unit, found.description) == (one.unit, one.text)
        assert found.HasField("sum" if is_counter else "gauge"), one.name
        assert not is_counter or (found.sum.is_monotonic, found.sum.aggregation_temporality) == (
            True,
            2,
        )
        points = (found.sum if is_counter else found.gauge).data_points
        assert {tuple(label.key for label in point.attributes) for point in points} == {one.labels}
    assert sent == {}


def test_the_token_goes_to_a_collector_that_the_named_authority_knows_and_to_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(otlp, "TIMEOUT_S", 1.0)
    authority, stranger = trustme.CA(), trustme.CA()
    (tmp_path / "token").touch(mode=0o600)
    (tmp_path / "token").write_text(TOKEN + "\n")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    for signer, takes in ((authority, True), (stranger, False)):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        signer.issue_cert("localhost").configure_cert(context)
        collector = Collector(context)
        config = OpenTelemetryConfig(
            endpoint=collector.url,
            ca=str(tmp_path / "ca.pem"),
            token_file=str(tmp_path / "token"),
        )
        assert MetricExport(config, lambda: FULL).send() is takes
        assert collector.tokens == ([f"Bearer {TOKEN}"] if takes else [])
        collector.stop()


def test_a_collector_that_refuses_is_logged_once_and_gets_the_next_metrics_when_it_is_well(
    collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    collector.status = 400
    caplog.set_level(logging.INFO)
    config = OpenTelemetryConfig(endpoint=collector.url, interval_s=0.02)
    stop = threading.Event()
    thread = threading.Thread(target=MetricExport(config, lambda: FULL).run, args=(stop,))
    thread.start()
    until(lambda: len(collector.tokens) > 2, 30.0, "some tries")
    collector.status = 200
    until(lambda: "takes metrics again" in caplog.text, 30.0, "a try that succeeds")
    stop.set()
    thread.join()
    assert sum(one.name == otlp.__name__ for one in caplog.records) == 2
    assert "takes no metrics: " in caplog.text
    assert "400" in caplog.text


def test_without_the_library_or_with_an_open_token_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "token").chmod(0o644)
    url = "http://localhost:4318/v1/metrics"
    open_token = OpenTelemetryConfig(endpoint=url, token_file=str(tmp_path / "token"))
    no_authority = OpenTelemetryConfig(endpoint=url, ca=str(tmp_path / "none.pem"))
    wrong = [
        (open_token, "opentelemetry.token", "chmod 600"),
        (no_authority, "opentelemetry.ca", "PEM"),
    ]
    for config, code, hint in wrong:
        with pytest.raises(ConfigError) as refused:
            MetricExport(config, lambda: FULL)
        assert refused.value.code == code
        assert hint in refused.value.hint
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http", None)
    with pytest.raises(ConfigError, match="not installed") as missing:
        MetricExport(OpenTelemetryConfig(endpoint=url), lambda: FULL)
    assert "vigil-agent[otlp]" in missing.value.hint
