"""Every message of a device's life, byte for byte, against the published AsyncAPI document."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import jsonschema

from agent.schema.asyncapi import channel_of
from agent.schema.metrics import METRICS
from tests.parts.listener import fleet_listener
from tests.parts.processes import until
from tests.parts.site import FILM

if TYPE_CHECKING:
    from tests.parts.listener import Listener
    from tests.parts.site import Site

DOCUMENT = json.loads((Path(__file__).parents[2] / "docs" / "asyncapi.json").read_text())
ALWAYS = {
    "state",
    "telemetry",
    "telemetryDelta",
    "event",
    "detections",
    "command",
    "reply",
    "blockRequest",
    "block",
    "keyRequest",
    "keyReply",
    "hint",
    "haCamera",
    "haDiscovery",
    "haPicture",
    "haUpdate",
}

# What needs a sensor, a transfer under way, a zone, a line, a paused camera, a drift baseline, a look of the governor or a past.
NOT_EVERYWHERE = {
    *("vigil_temperature_celsius", "vigil_temperature_slope_celsius_per_minute"),
    *("vigil_power_watts", "vigil_throttled", "vigil_throttled_earlier"),
    *("vigil_memory_pressure_ratio", "vigil_governor_p95_seconds", "vigil_written_bytes_per_day"),
    *("vigil_camera_paused", "vigil_update_progress_bytes"),
    *("vigil_camera_drifted", "vigil_drift_windows_total", "vigil_drift_figure"),
    *("vigil_stage_usual_seconds", "vigil_slow"),
    *("vigil_shadow_frames", "vigil_shadow_skipped", "vigil_shadow_agreement_ratio"),
    *("vigil_shadow_class_agreement_ratio", "vigil_shadow_left_seconds"),
    *("vigil_zone_objects", "vigil_zone_entered_total", "vigil_line_crossings_total"),
}


def test_every_message_of_a_whole_run_is_as_the_document_says(site: Site) -> None:
    listener = fleet_listener(site)
    telemetry = {"interval_s": 0.5, "detections": True, "deltas": True}
    home = {"enabled": True, "pictures": True, "picture_s": 0.5}
    device = site.serving("spoken", cameras=[FILM], telemetry=telemetry, home_assistant=home)
    seen: Counter[str] = Counter()
    until(lambda: _names(listener) >= ALWAYS, 60.0, "every kind of message")
    scraped = httpx.get(f"{device.console_url}metrics", timeout=60).text
    assert {one.name for one in METRICS if one.name not in scraped} <= NOT_EVERYWHERE
    device.kill()
    until(lambda: any(b'"online":false' in body for _, body in list(listener.heard)), 30, "will")
    listener.close()
    for topic, payload in listener.heard:
        channel = channel_of(topic)
        assert channel is not None, f"{topic} is not described"
        seen[channel.name] += 1
        _validate(channel.name, payload)
    assert set(seen) >= ALWAYS
    states = [json.loads(body) for topic, body in listener.heard if topic.endswith("/state")]
    assert {(one["online"], one["interval_ms"]) for one in states} == {(True, 500), (False, 0)}


def _names(listener: Listener) -> set[str]:
    channels = [channel_of(topic) for topic, _ in list(listener.heard)]
    return {one.name for one in channels if one is not None}


def _validate(channel: str, payload: bytes) -> None:
    (reference,) = DOCUMENT["channels"][channel]["messages"].values()
    message = DOCUMENT["components"]["messages"][reference["$ref"].rpartition("/")[2]]
    if message["contentType"] != "application/json":
        assert payload
        return
    schema: dict[str, Any] = {**message["payload"], "components": DOCUMENT["components"]}
    jsonschema.Draft202012Validator(schema).validate(json.loads(payload))
