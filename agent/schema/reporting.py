"""What a device tells, to whom and how often: the operator's sections on telemetry, Home Assistant and OpenTelemetry."""

from __future__ import annotations

from typing import Annotated

import msgspec

from agent.schema.values import Counter, Identifier, Positive, PositiveFloat, Struct


class OutboxConfig(Struct):
    """Bounds of the disk spool."""

    max_mb: Positive = 64
    max_age_h: PositiveFloat = 72.0


class TelemetryConfig(Struct):
    """What is reported and how often.

    Attributes:
        interval_s: Seconds between two measurements; null for the profile's.
        detections: Adds a message for every processed frame.
        deltas: Sends mostly what changed; for links that are paid by volume.
    """

    interval_s: PositiveFloat | None = None
    detections: bool = False
    deltas: bool = False
    outbox: OutboxConfig = OutboxConfig()


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


class OpenTelemetryConfig(Struct):
    """An OpenTelemetry collector that gets all metrics (OTLP over HTTP); see `docs/metrics.md`.

    Attributes:
        endpoint: Where it takes metrics, for example `https://collector.example:4318/v1/metrics`.
        interval_s: Seconds between two messages.
        ca: PEM certificate of the authority that signed the collector; null for the system's authorities.
        token_file: The collector's bearer token, one line, mode 0600; null where it asks for none.
    """

    endpoint: Annotated[str, msgspec.Meta(pattern=r"^https?://[^\s?#]+$(?!\n)", max_length=512)]
    interval_s: PositiveFloat = 60.0
    ca: str | None = None
    token_file: str | None = None
