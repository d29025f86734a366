"""What the governor says of itself, and what an operator may tell it."""

from __future__ import annotations

from typing import Annotated

import msgspec

from agent.schema.values import Counter, Identifier, PositiveFloat, Struct, UnixMs

AUTOMATIC = "auto"
RungName = Annotated[str, msgspec.Meta(min_length=1, max_length=96)]


class GovernorReport(Struct):
    """Where the governor stands and what it senses, in every `Telemetry`.

    Attributes:
        rung: Name of the present rung; `index` counts from 0, the best, to `rungs` - 1.
        p95_ms: 95th percentile from capture to result, milliseconds; null without frames.
        queue_ms: 95th percentile of a frame's age when its inference began, milliseconds.
        temperature_slope_c_min: Degrees Celsius per minute.
        memory_pressure: Share of time in which some task waited for memory, in percent (PSI, 10 s).
        throttled: Names of what slows the board down now.
        power_mode: The board's power mode; empty where it has none.
    """

    rung: str
    index: Counter
    rungs: Counter
    p95_ms: float | None = None
    queue_ms: float | None = None
    temperature_slope_c_min: float | None = None
    memory_pressure: float | None = None
    throttled: list[str] = []
    power_mode: str = ""


class GovernorMove(Struct):
    """One step on the ladder, at `…/governor`: from where to where, why, and the figures behind it.

    `cause` is one of `heat throttled latency queue memory recovered power_mode pinned failed`.
    """

    v: int
    device: Identifier
    at_ms: UnixMs
    origin: str
    rung: str
    cause: str
    reason: str
    figures: dict[str, float] = {}


class PinRungArgs(Struct):
    """`pin-rung`: stay on the rung with this name for so many minutes; `auto` lets go."""

    rung: RungName
    minutes: PositiveFloat = 60.0
