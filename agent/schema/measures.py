"""What a device measures of itself, as parts of a `Telemetry` message."""

from __future__ import annotations

from agent.schema.values import Counter, Struct


class LinkQuality(Struct):
    """How the connection to the broker was since the agent started.

    Attributes:
        protocol: MQTT version, empty before the first connection.
        acknowledged: Messages that the broker acknowledged.
        round_trip_ms: Median from PUBLISH to PUBACK of the newest messages.
        slowest_ms: The slowest of them.
    """

    protocol: str = ""
    reconnects: Counter = 0
    acknowledged: Counter = 0
    round_trip_ms: float | None = None
    slowest_ms: float | None = None
