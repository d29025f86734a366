"""How Home Assistant is told of a device: the discovery payload with its entities (pure).

https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from agent.schema.home_assistant import Discovery, HomeAssistantConfig
from agent.schema.topics import DeviceTopics

BUTTONS = {"report": "Report now", "picture": "Picture now"}
_ONLINE = "{{ 'online' if value_json.online else 'offline' }}"


@dataclass(frozen=True)
class Facts:
    """What the announcement depends on."""

    agent: str
    board: str
    cameras: tuple[str, ...]
    labels: tuple[str, ...]


def discovery_topic(topics: DeviceTopics, config: HomeAssistantConfig) -> str:
    """Return where Home Assistant looks for this device."""
    return f"{config.prefix}/device/{_plain(topics.device)}/config"


def discovery_of(topics: DeviceTopics, facts: Facts, config: HomeAssistantConfig) -> Discovery:
    """Return the announcement (pure)."""
    device = _plain(topics.device)
    entities = {
        **_device_entities(topics, config),
        **{
            f"{_plain(camera)}_{name}": entity
            for camera in facts.cameras
            for name, entity in _camera_entities(topics, camera, facts, config).items()
        },
    }
    return Discovery(
        device={
            "identifiers": [f"vigil_{device}"],
            "name": topics.device,
            "manufacturer": "Vigil",
            "model": facts.board,
            "sw_version": facts.agent,
        },
        origin={"name": "vigil", "sw_version": facts.agent},
        components={
            name: {"unique_id": f"vigil_{device}_{name}", **entity}
            for name, entity in entities.items()
        },
        availability=[{"topic": topics.state, "value_template": _ONLINE}],
    )


def _device_entities(topics: DeviceTopics, config: HomeAssistantConfig) -> dict[str, Any]:
    entities: dict[str, dict[str, Any]] = {
        "temperature": {
            "platform": "sensor",
            "name": "Temperature",
            "state_topic": topics.telemetry,
            "value_template": "{{ value_json.temperature_c }}",
            "device_class": "temperature",
            "state_class": "measurement",
            "unit_of_measurement": "°C",
            "entity_category": "diagnostic",
        },
        "rate": {
            "platform": "sensor",
            "name": "Frame rate",
            "state_topic": topics.telemetry,
            "value_template": "{{ value_json.fps }}",
            "state_class": "measurement",
            "unit_of_measurement": "fps",
            "entity_category": "diagnostic",
        },
        "model": {
            "platform": "update",
            "name": "Model",
            "state_topic": topics.ha_update,
            "entity_category": "diagnostic",
        },
    }
    if config.local_control:
        entities |= {
            name: {
                "platform": "button",
                "name": title,
                "command_topic": topics.ha_press,
                "payload_press": name,
                "entity_category": "diagnostic",
            }
            for name, title in BUTTONS.items()
            if name != "picture" or config.pictures
        }
    return entities


def _camera_entities(
    topics: DeviceTopics, camera: str, facts: Facts, config: HomeAssistantConfig
) -> dict[str, Any]:
    counts = {"state_topic": topics.ha_camera(camera)}
    labels = config.labels or facts.labels[: config.max_labels]
    entities: dict[str, dict[str, Any]] = {
        "occupancy": {
            **counts,
            "platform": "binary_sensor",
            "name": f"{camera} occupancy",
            "value_template": "{{ 'ON' if value_json.occupied else 'OFF' }}",
            "device_class": "occupancy",
        },
        "count": _count(counts, f"{camera} objects", "{{ value_json.total }}"),
        **{
            f"count_{_plain(label)}": _count(
                counts, f"{camera} {label}", f"{{{{ value_json.labels.get({label!r}, 0) }}}}"
            )
            for label in labels
        },
    }
    if config.pictures:
        entities["picture"] = {
            "platform": "camera",
            "name": camera,
            "topic": topics.ha_picture(camera),
        }
    return entities


def _count(counts: dict[str, str], name: str, template: str) -> dict[str, Any]:
    return {
        **counts,
        "platform": "sensor",
        "name": name,
        "value_template": template,
        "state_class": "measurement",
    }


def _plain(name: str) -> str:
    """Return a name of the letters that discovery topics and ids allow: [a-zA-Z0-9_-]."""
    return re.sub(r"[^a-zA-Z0-9_-]", "_", name)
