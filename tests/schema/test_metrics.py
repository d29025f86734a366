"""The table of metrics: complete, documented, and what the dashboard, the alerts and the examples go by."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from msgspec.structs import replace as with_fields
from prometheus_client.parser import text_string_to_metric_families

from agent.console.metrics import exposition
from agent.schema.messages import Phase, Telemetry
from agent.schema.metrics import ABOUT, INFO, METRICS, measure
from agent.schema.series import EACH, Metric
from agent.schema.snapshot import Snapshot
from tests.parts.snapshots import FULL, STATE

DOCS = Path(__file__).resolve().parents[2] / "docs"
DOCUMENT = DOCS / "metrics.md"
MONITORING = DOCS / "monitoring"
BEGIN, END = "<!-- metrics: begin -->\n", "<!-- metrics: end -->\n"
# Who and when, no measurement; names of what a metric tells as a number; and older names of the same figures.
NO_MEASUREMENT = {
    *("v", "device", "boot", "at_ms", "seq", "interval_ms"),
    *("cameras.*.name", "cameras.*.problem", "cameras.*.code", "cameras.*.decoder"),
    *("cameras.*.zones.*.name", "cameras.*.lines.*.name", "progress.file", "progress.waiting"),
    *("model.release", "model.variant", "model.phase", "events.problem", "governor.rung"),
    *("governor.throttled.*", "governor.power_mode"),
    *(f"drift.*.{name}" for name in ("name", "state", "cause", "period")),
    *(f"drift.*.changes.*.{name}" for name in ("figure", "usual", "found", "psi", "ks")),
    *(f"shadow.{name}" for name in ("state", "candidate", "variant", "end")),
    *(f"pace.{name}" for name in ("stage", "cause", "reason")),
    *("outbox_messages", "outbox_dropped", "link_reconnects"),
}
BY_NAME = {one.name: one for one in (INFO, *METRICS)}


def fields(kind: msgspec.inspect.Type, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the path of every value in a message of this type."""
    match kind:
        case msgspec.inspect.StructType():
            for one in kind.fields:
                yield from fields(one.type, (*path, one.encode_name))
        case msgspec.inspect.DictType():
            yield from fields(kind.value_type, (*path, EACH))
        case msgspec.inspect.ListType():
            yield from fields(kind.item_type, (*path, EACH))
        case msgspec.inspect.UnionType():
            (inner,) = (one for one in kind.types if not isinstance(one, msgspec.inspect.NoneType))
            yield from fields(inner, path)
        case _:
            yield ".".join(path)


def test_every_measurement_of_telemetry_is_a_metric() -> None:
    sources = {one.path for metric in METRICS for one in metric.series} | set(ABOUT.values())
    told = {one.removeprefix("telemetry.") for one in sources}
    measured = set(fields(msgspec.inspect.type_info(Telemetry)))
    assert measured - told - NO_MEASUREMENT == set()
    assert NO_MEASUREMENT - measured == set()


def test_names_and_labels_are_prometheus_and_each_is_there_once() -> None:
    assert len(BY_NAME) == len(METRICS) + 1
    for one in BY_NAME.values():
        assert re.fullmatch(r"vigil_[a-z][a-z0-9_]*[a-z0-9]", one.name)
        assert not one.name.endswith(("_ms", "_mb", "_count", "_sum", "_bucket"))
        assert all(re.fullmatch("[a-z][a-z_]*", label) for label in one.labels)
        assert one.text.endswith(".")


def test_a_device_that_knows_everything_gives_every_metric_with_all_its_labels() -> None:
    for metric, samples in measure(FULL):
        assert samples, metric.name
        assert {len(labels) for labels, _ in samples} == {len(metric.labels)}, metric.name
        assert len({labels for labels, _ in samples}) == len(samples), metric.name


def test_values_are_in_base_units() -> None:
    found = {
        (one.name, *labels): value for one, samples in measure(FULL) for labels, value in samples
    }
    expected = {
        ("vigil_stage_seconds", "infer", "p50"): 0.011,
        ("vigil_stage_seconds", "infer", "p95"): 0.022,
        ("vigil_memory_bytes", "worker"): 121 * 2**20,
        ("vigil_power_watts", "VDD_IN"): 6.0,
        ("vigil_memory_pressure_ratio",): 0.12,
        ("vigil_start_time_seconds",): 1_699_999_000.0,
        ("vigil_update_phase", "probation"): 1.0,
        ("vigil_update_phase", "idle"): 0.0,
        ("vigil_camera_up", "belt"): 1.0,
        ("vigil_camera_gate_closed", "belt"): 1.0,
        ("vigil_camera_paused", "door"): 1.0,
        ("vigil_throttled", "under-voltage"): 1.0,
        ("vigil_zone_objects", "belt", "inspection", "bolt"): 2.0,
        ("vigil_outbox_dropped_total", "metric"): 2.0,
    }
    assert {key: found[key] for key in expected} == pytest.approx(expected)


def test_what_is_not_known_is_left_out_and_never_nought() -> None:
    idle = with_fields(STATE, phase=Phase.IDLE, paused=[], drifted={}, release=None)
    bare = Snapshot(idle, None, (), (), heartbeat_age_s=None, link_connected=False)
    known = {one.name for one, samples in measure(bare) if samples}
    assert known == {
        *("vigil_info", "vigil_link_up", "vigil_pipeline_running"),
        *("vigil_policy_version", "vigil_release_floor", "vigil_update_phase"),
    }


def test_the_table_of_the_documentation_is_the_code_s() -> None:
    head, _, rest = DOCUMENT.read_text().partition(BEGIN)
    _, _, tail = rest.partition(END)
    rows = ["| metric | labels | what |", "| --- | --- | --- |", *map(_row, BY_NAME.values())]
    expected = "\n".join([f"{head}{BEGIN}", *rows, f"\n{END}{tail}"])
    if os.environ.get("VIGIL_WRITE_DOCS"):
        DOCUMENT.write_text(expected)
    assert DOCUMENT.read_text() == expected, "run this test once with VIGIL_WRITE_DOCS=1"


def _row(one: Metric) -> str:
    labels = " ".join(f"`{label}`" for label in one.labels)
    return f"| `{one.name}` | {labels} | {one.text} |"


def _expressions() -> Iterator[tuple[str, str]]:
    """Yield each query of dashboard and alerts, with the text that shows its labels."""
    dashboard = json.loads((MONITORING / "grafana-dashboard.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield target["expr"], target.get("legendFormat", "")
    for variable in dashboard["templating"]["list"]:
        yield variable.get("definition", ""), ""
    for group in yaml.safe_load((MONITORING / "prometheus-alerts.yml").read_text())["groups"]:
        for rule in group["rules"]:
            yield rule["expr"], rule["annotations"]["summary"]


def test_every_metric_and_label_of_dashboard_and_alerts_is_in_a_scrape() -> None:
    families = text_string_to_metric_families(exposition(FULL).decode())
    scraped: dict[str, set[str]] = {}
    for family in families:
        for sample in family.samples:
            scraped.setdefault(sample.name, set()).update(sample.labels)
    expressions = list(_expressions())
    assert len(expressions) > 20
    for expression, shown in expressions:
        names = set(re.findall(r"\bvigil_\w+", expression))
        assert names - set(scraped) == set(), expression
        known = {"instance", "job"}.union(*(scraped[name] for name in names))
        assert _labels(expression, shown) - known == set(), expression


def _labels(expression: str, shown: str) -> set[str]:
    grouped = re.findall(r"(?:by|on|without|group_left|ignoring) ?\(([^)]*)\)", expression)
    selected = re.findall(r"(\w+) ?(?:=~|!=|!~|=) ?\"", expression)
    told = re.findall(r"\{\{ ?(?:\$labels\.)?(\w+) ?\}\}", shown)
    return {label.strip() for one in grouped for label in one.split(",")} | {*selected, *told} - {
        ""
    }


def test_the_dashboard_s_panels_have_a_place_of_their_own() -> None:
    panels = json.loads((MONITORING / "grafana-dashboard.json").read_text())["panels"]
    assert len({one["id"] for one in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for place in (one["gridPos"] for one in panels):
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert not cells & taken
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_scrape_examples_ask_an_address_that_exists_with_the_token() -> None:
    (job,) = yaml.safe_load((MONITORING / "prometheus.yml").read_text())["scrape_configs"]
    assert job["metrics_path"] == "/metrics"
    assert set(job["authorization"]) == {"type", "credentials_file"}
    assert _rule_files() == ["prometheus-alerts.yml"]
    telegraf = (MONITORING / "telegraf.conf").read_text()
    assert re.search(r'^\s*urls = \["https://[^"]+/metrics"\]', telegraf, re.MULTILINE)
    assert "bearer_token" in telegraf


def _rule_files() -> Any:
    return yaml.safe_load((MONITORING / "prometheus.yml").read_text())["rule_files"]
