"""Zones, lines and masks in the operator's file: each fault is named by place, expected and found."""

from pathlib import Path

import pytest

from agent.config import load_config
from agent.errors import ConfigError
from agent.schema.zones import Anchor

FILE = """\
schema: 1
device: {{id: cam-1, class: shop}}
broker: {{host: broker.example, tls: {{ca: ca.crt, cert: cam.crt, key: cam.key}}}}
cameras:
  - name: door
    source: door.mp4
    zones:
      - {{name: porch, polygon: {polygon}, labels: [person], loiter_s: 10, anchor: {anchor}}}
    lines:
      - {{name: gate, start: {start}, end: [0.9, 0.5]}}
      - {{name: exit, start: [0.1, 0.8], end: [0.9, 0.8]}}
    speeds:
      - {{name: {speed}, first: gate, second: {second}, distance_m: {distance}}}
    privacy:
      masks: [{{name: window, polygon: {mask}}}]
      blur: [person]
events: {{min_frames: 3, clips: {{enabled: true}}, store: {{max_mb: 64}}}}
"""
GOOD = {
    "polygon": "[[0.1, 0.1], [0.9, 0.1], [0.5, 0.9]]",
    "anchor": "center",
    "start": "[0.1, 0.5]",
    "speed": "drive",
    "second": "exit",
    "distance": "12.5",
    "mask": "[[0, 0], [1, 0], [1, 0.1]]",
}


def load(folder: Path, **changes: str) -> object:
    path = folder / "vigil.yaml"
    path.write_text(FILE.format(**(GOOD | changes)))
    return load_config(path)


def test_a_camera_with_everything_is_read(tmp_path: Path) -> None:
    path = tmp_path / "vigil.yaml"
    path.write_text(FILE.format(**GOOD))
    config = load_config(path)
    (camera,) = config.cameras
    assert camera.zones[0].polygon == [(0.1, 0.1), (0.9, 0.1), (0.5, 0.9)]
    assert (camera.zones[0].anchor, camera.zones[0].loiter_s) == (Anchor.CENTER, 10)
    assert (camera.lines[1].name, camera.speeds[0].distance_m) == ("exit", 12.5)
    assert (camera.privacy.masks[0].name, camera.privacy.blur) == ("window", ["person"])
    assert (config.events.clips.enabled, config.events.store.max_mb) == (True, 64)


BOW_TIE = "[[0.1, 0.1], [0.9, 0.9], [0.9, 0.1], [0.1, 0.9]]"


@pytest.mark.parametrize(
    ("change", "place", "expected", "found"),
    [
        ({"polygon": BOW_TIE}, "zones[0].polygon", "simple polygon", "edges 1 and 3 cross"),
        ({"mask": BOW_TIE}, "privacy.masks[0].polygon", "simple polygon", "edges 1 and 3 cross"),
        ({"polygon": "[[0.1, 0.1], [0.9, 0.1]]"}, "zones[0].polygon", "length >= 3", ""),
        (
            {"polygon": "[[0.1, 0.1], [1.2, 0.1], [0, 1]]"},
            "zones[0].polygon[1][0]",
            "<= 1.0",
            "1.2",
        ),
        ({"polygon": "[[0.1, -1], [1, 0.1], [0, 1]]"}, "zones[0].polygon[0][1]", ">= 0.0", "-1"),
        ({"polygon": "[[0.1, .nan], [1, 0], [0, 1]]"}, "zones[0].polygon[0][1]", "", "nan"),
        ({"polygon": "[[0, 0], [0.5, 0.5], [1, 1]]"}, "zones[0].polygon", "simple polygon", ""),
        ({"polygon": "[[0, 0], [0, 0], [1, 1], [0, 1]]"}, "zones[0].polygon", "", "twice in a row"),
        ({"start": "[0.9, 0.5]"}, "lines[0]", "two points at least", "(0.9, 0.5)"),
        ({"second": "gate"}, "speeds[0].second", "another line", "gate"),
        ({"second": "porch"}, "speeds[0].second", "exit, gate", "porch"),
        ({"speed": "porch"}, "speeds[0].name", "no other zone, line or speed", "porch"),
        ({"speed": "Drive 1"}, "speeds[0].name", "small letters", "Drive 1"),
        ({"distance": "0"}, "speeds[0].distance_m", "> 0", "0"),
        ({"anchor": "top"}, "zones[0].anchor", "", "top"),
    ],
)
def test_a_place_that_cannot_be_is_named(
    tmp_path: Path, change: dict[str, str], place: str, expected: str, found: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, **change)
    message = str(caught.value)
    assert f"$.cameras[0].{place}:" in message
    assert expected in message
    assert found in message
    assert caught.value.exit_status == 78
