"""Every metric of a device, defined once: `/metrics`, OpenTelemetry, docs/metrics.md and the dashboard follow this table.

Names and base units are as Prometheus asks (https://prometheus.io/docs/practices/naming/).
"""

from __future__ import annotations

from collections.abc import Iterator

from agent.schema.messages import Phase
from agent.schema.series import (
    Metric,
    Sample,
    Series,
    among,
    metric,
    mib,
    milli,
    percent,
    present,
    walk,
)
from agent.schema.snapshot import Snapshot
from agent.schema.vision_metrics import VISION_METRICS

ABOUT = {
    "device": "state.device",
    "agent": "state.agent",
    "profile": "state.profile",
    "release": "state.release",
    "variant": "state.variant",
    "power_mode": "telemetry.board.power_mode",
    "mqtt": "telemetry.link.protocol",
}
INFO = Metric("vigil_info", "Always 1; the labels say what runs here.", tuple(ABOUT), ())

_AGENT = (
    metric(
        "vigil_start_time_seconds",
        "When the agent started, Unix time.",
        "telemetry.totals.since_ms",
        convert=milli,
    ),
    metric(
        "vigil_worker_heartbeat_age_seconds", "Time since the worker was heard.", "heartbeat_age_s"
    ),
    metric(
        "vigil_worker_restarts_total",
        "Unplanned restarts of the worker.",
        "telemetry.worker_restarts",
    ),
    metric(
        "vigil_memory_bytes",
        "Memory of a process (PSS).",
        {"control": "telemetry.control_pss_mb", "worker": "telemetry.worker_pss_mb"},
        "process",
        mib,
    ),
    metric("vigil_console_viewers", "Open live views of the page.", "viewers"),
)

_UPDATES = (
    Metric(
        "vigil_update_phase",
        "1 for the present phase.",
        ("phase",),
        tuple(Series("state.phase", (one.value,), among(one)) for one in Phase),
    ),
    metric(
        "vigil_update_progress_bytes",
        "Transfer under way.",
        {"done": "telemetry.progress.done", "total": "telemetry.progress.total"},
        "kind",
    ),
    metric("vigil_release_floor", "Least release counter that is accepted.", "state.floor"),
    metric("vigil_policy_version", "Version of the command policy.", "state.policy_ver"),
)

_LINK = (
    metric("vigil_link_up", "1 while the broker is connected.", "link_connected"),
    metric("vigil_link_reconnects_total", "Reconnects to the broker.", "telemetry.link.reconnects"),
    metric(
        "vigil_link_acknowledged_total",
        "Messages that the broker acknowledged.",
        "telemetry.link.acknowledged",
    ),
    metric(
        "vigil_link_round_trip_seconds",
        "From PUBLISH to PUBACK, the newest messages.",
        {"median": "telemetry.link.round_trip_ms", "slowest": "telemetry.link.slowest_ms"},
        "kind",
        milli,
    ),
    metric(
        "vigil_outbox_messages", "Messages that wait for the broker.", "telemetry.outbox.messages"
    ),
    metric(
        "vigil_outbox_oldest_seconds", "Age of the oldest of them.", "telemetry.outbox.oldest_s"
    ),
    metric(
        "vigil_outbox_dropped_total",
        "Messages given up since the outbox was made.",
        "telemetry.outbox.dropped.*",
        "priority",
    ),
    metric(
        "vigil_written_bytes_per_day",
        "Bytes written to disks, as of a day.",
        {
            "outbox": "telemetry.outbox.written_mb_day",
            "process": "telemetry.outbox.process_written_mb_day",
        },
        "by",
        mib,
    ),
)

_BOARD = (
    metric("vigil_temperature_celsius", "Hottest sensor.", "telemetry.temperature_c"),
    metric(
        "vigil_power_watts",
        "Power of a measured rail.",
        "telemetry.board.power_mw.*",
        "rail",
        milli,
    ),
    metric(
        "vigil_throttled",
        "1 for what slows the board down now.",
        "telemetry.board.throttled.*",
        "reason",
        present,
    ),
    metric(
        "vigil_throttled_earlier",
        "1 for what slowed it down since it started.",
        "telemetry.board.throttled_earlier.*",
        "reason",
        present,
    ),
    metric(
        "vigil_memory_free_bytes",
        "Memory that could be had without swapping.",
        "telemetry.board.memory_free_mb",
        convert=mib,
    ),
    metric(
        "vigil_disk_free_bytes",
        "Room beside the agent's state.",
        "telemetry.board.disk_free_mb",
        convert=mib,
    ),
    metric("vigil_uptime_seconds", "Since the board started.", "telemetry.board.uptime_s"),
)

_GOVERNOR = (
    metric(
        "vigil_governor_rung", "The governor's rung, 0 is the best.", "telemetry.governor.index"
    ),
    metric("vigil_governor_rungs", "How many rungs its ladder has.", "telemetry.governor.rungs"),
    metric(
        "vigil_governor_p95_seconds",
        "What it judges by: capture to result, and a frame's wait for its inference.",
        {"whole": "telemetry.governor.p95_ms", "queue": "telemetry.governor.queue_ms"},
        "kind",
        milli,
    ),
    metric(
        "vigil_temperature_slope_celsius_per_minute",
        "How fast the temperature rises.",
        "telemetry.governor.temperature_slope_c_min",
    ),
    metric(
        "vigil_memory_pressure_ratio",
        "Share of time in which some task waited for memory.",
        "telemetry.governor.memory_pressure",
        convert=percent,
    ),
)

METRICS = (
    *_AGENT,
    *VISION_METRICS,
    *_UPDATES,
    *_LINK,
    *_BOARD,
    *_GOVERNOR,
)


def measure(snapshot: Snapshot) -> Iterator[tuple[Metric, list[Sample]]]:
    """Yield every metric with its samples, of which there may be none."""
    yield INFO, [(tuple(_word(snapshot, path) for path in ABOUT.values()), 1.0)]
    for one in METRICS:
        yield one, one.samples(snapshot)


def _word(snapshot: Snapshot, path: str) -> str:
    return next((str(found) for _, found in walk(snapshot, path)), "")
