"""A small Home Assistant: discovers devices by MQTT as the real one does, and shows their entities.

The rules are those of its MQTT integration: discovery topic and device payload
(https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery), and of each platform the required and the
known options.
"""

from __future__ import annotations

import json
import re
from typing import Any

_TOPIC = re.compile(r"homeassistant/device/(?P<object_id>[a-zA-Z0-9_-]+)/config")
_COMMON = {
    "platform", "unique_id", "name", "device_class", "entity_category", "icon", "qos", "encoding",
    "enabled_by_default", "availability", "json_attributes_topic", "json_attributes_template",
}  # fmt: skip
# Required, and allowed beside the common ones.
PLATFORMS: dict[str, tuple[set[str], set[str]]] = {
    "sensor": (
        {"state_topic"},
        {"value_template", "state_class", "unit_of_measurement", "expire_after", "options"},
    ),
    "binary_sensor": (
        {"state_topic"},
        {"value_template", "payload_on", "payload_off", "off_delay", "expire_after"},
    ),
    "camera": ({"topic"}, {"image_encoding"}),
    "update": (
        set(),
        {"state_topic", "value_template", "latest_version_topic", "command_topic", "title"},
    ),
    "button": ({"command_topic"}, {"payload_press", "retain"}),
}
_CLASSES = {"sensor": {"temperature"}, "binary_sensor": {"occupancy"}}
_CATEGORIES = {"diagnostic", "config"}


class _Value(dict[str, Any]):
    """A JSON object whose members are attributes, too, as in Jinja."""

    def __getattr__(self, name: str) -> Any:
        return self[name]

    @classmethod
    def of(cls, payload: bytes) -> Any:
        try:
            return json.loads(payload, object_hook=cls)
        except ValueError:
            return None


class HomeAssistantView:
    """What Home Assistant makes of messages, in the order they came."""

    def __init__(self) -> None:
        self.entities: dict[str, dict[str, Any]] = {}
        self.devices: dict[str, dict[str, Any]] = {}
        self.states: dict[str, Any] = {}
        self.available: dict[str, bool] = {}
        self.progress: list[int] = []

    def take(self, topic: str, payload: bytes) -> None:
        """Take one message."""
        if topic.startswith("homeassistant/"):
            self._discover(topic, json.loads(payload))
        for name, entity in self.entities.items():
            if topic == entity["availability"][0]["topic"]:
                text = self._render(entity["availability"][0]["value_template"], payload)
                assert text in {"online", "offline"}
                self.available[name] = text == "online"
            if topic == entity.get("topic"):
                self.states[name] = payload
            if topic == entity.get("state_topic"):
                self._state(name, entity, payload)

    def _discover(self, topic: str, payload: dict[str, Any]) -> None:
        found = _TOPIC.fullmatch(topic)
        assert found, f"Home Assistant ignores {topic}"
        assert payload["origin"]["name"]
        assert payload["device"]["identifiers"]
        self.devices[found["object_id"]] = payload["device"]
        identities = [one["unique_id"] for one in payload["components"].values()]
        assert len(set(identities)) == len(identities)
        for name, entity in payload["components"].items():
            required, allowed = PLATFORMS[entity["platform"]]
            assert required <= set(entity), f"{name}: {required - set(entity)} is missing"
            unknown = set(entity) - required - allowed - _COMMON
            assert not unknown, f"{name}: Home Assistant does not know {unknown}"
            assert entity.get("entity_category", "diagnostic") in _CATEGORIES
            known = _CLASSES.get(entity["platform"], set()) | {None}
            assert entity.get("device_class") in known
            self.entities[name] = {"availability": payload["availability"], **entity}

    def _state(self, name: str, entity: dict[str, Any], payload: bytes) -> None:
        text = self._render(entity.get("value_template", "{{ value }}"), payload)
        if entity["platform"] == "binary_sensor":
            assert text in {"ON", "OFF"}
        if entity["platform"] == "update":
            state = json.loads(payload)
            assert {"installed_version", "latest_version"} <= set(state)
            if state["update_percentage"] is not None:
                assert state["in_progress"]
                self.progress.append(state["update_percentage"])
            text = state["installed_version"]
        if entity.get("state_class") == "measurement" and text != "None":
            float(text)
        self.states[name] = text

    @staticmethod
    def _render(template: str, payload: bytes) -> str:
        # What stands between the braces of the device's templates means the same in Jinja and in Python.
        found = re.fullmatch(r"\{\{ (.+) \}\}", template)
        assert found, template
        names = {"value": payload.decode(errors="replace"), "value_json": _Value.of(payload)}
        return str(eval(found[1], {"__builtins__": {}}, names))  # noqa: S307 - written by the test's own code
