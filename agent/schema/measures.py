"""What a device measures of itself: parts of a `Telemetry` message, and what stands for one on metered links."""

from __future__ import annotations

from typing import Any

from agent.schema.values import Counter, Identifier, Struct


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


class BoardReport(Struct):
    """The board at one moment; null where it does not say.

    Attributes:
        memory_free_mb: Memory that could be had without swapping.
        disk_free_mb: Room beside the agent's state.
        throttled: What slows the board down now.
        throttled_earlier: The same since the board started.
        power_mode: Name of the Jetson's power mode.
        power_mw: Power of each measured rail, milliwatts.
        uptime_s: Since the board started.
    """

    memory_free_mb: float | None = None
    disk_free_mb: float | None = None
    throttled: list[str] = []
    throttled_earlier: list[str] = []
    power_mode: str = ""
    power_mw: dict[str, float] = {}
    uptime_s: Counter = 0


class OutboxReport(Struct):
    """What waits for the broker.

    Attributes:
        oldest_s: Age of the oldest message.
        dropped: Given up since the outbox was made, by priority (`alert`, `event`, `metric`).
        written_mb_day: MiB that the outbox wrote to the disk, as of a day; null where the kernel does not count.
        process_written_mb_day: The same of the whole control process.
    """

    messages: Counter = 0
    oldest_s: float = 0.0
    dropped: dict[str, Counter] = {}
    written_mb_day: float | None = None
    process_written_mb_day: float | None = None


class Totals(Struct):
    """Counters since the agent started: frames with a result, and frames whose inference failed."""

    since_ms: int = 0
    frames: Counter = 0
    failed: Counter = 0


class ModelReport(Struct):
    """Which model runs and what its update does."""

    release: str | None = None
    variant: str | None = None
    phase: str = ""


class TelemetryDelta(Struct):
    """Measurements on a metered link, at `…/telemetry/delta`: what differs from the full message number `base`.

    `patch` is a JSON merge patch (RFC 7396); figures that moved less than 5 % are left as they were.
    """

    v: int
    device: Identifier
    boot: str
    seq: Counter
    base: Counter
    at_ms: int
    patch: dict[str, Any]
