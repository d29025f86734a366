"""What a device tells, to whom and how often: the operator's sections on telemetry and OpenTelemetry."""

from __future__ import annotations

from typing import Annotated

import msgspec

from agent.schema.values import Positive, PositiveFloat, Struct


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
