"""What Home Assistant reads of a device, beside its state and telemetry: counts, pictures, the update."""

from __future__ import annotations

from typing import Any

import msgspec

from agent.schema.values import Counter, Identifier, PositiveFloat, Struct


class HomeAssistantConfig(Struct):
    """Home Assistant by MQTT discovery; see `docs/home-assistant.md`.

    Attributes:
        prefix: Home Assistant's discovery prefix.
        labels: Labels that get a counter for each camera; empty for the first `max_labels` of the model.
        pictures: Sends a picture of each camera every `picture_s` seconds.
        local_control: Whether whoever may write to the broker may ask for reports and pictures, unsigned.
    """

    enabled: bool = False
    prefix: Identifier = "homeassistant"
    labels: list[str] = []
    max_labels: Counter = 8
    pictures: bool = False
    picture_s: PositiveFloat = 10.0
    local_control: bool = False


class CameraCounts(Struct):
    """Objects on one camera now, at `…/ha/camera/<camera>`, retained; sent when it changes.

    Attributes:
        total: All of them.
        occupied: Whether there was any in the last seconds.
        labels: By label.
    """

    total: Counter = 0
    occupied: bool = False
    labels: dict[str, Counter] = {}


class UpdateProgress(Struct, omit_defaults=False):
    """What Home Assistant's update entity reads, at `…/ha/update`, retained.

    The names are Home Assistant's: https://www.home-assistant.io/integrations/update.mqtt/.
    """

    installed_version: str
    latest_version: str
    title: str
    in_progress: bool
    update_percentage: int | None = None


class Discovery(msgspec.Struct, frozen=True, kw_only=True):
    """A device as Home Assistant discovers it, retained at `<prefix>/device/<device>/config`.

    https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload
    """

    device: dict[str, Any]
    origin: dict[str, str]
    components: dict[str, dict[str, Any]]
    availability: list[dict[str, str]]
    qos: int = 1
