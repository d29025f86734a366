"""What a device keeps of each day, so that a month can be told of later."""

from __future__ import annotations

from agent.schema.values import Counter, Identifier, Struct

DAYS_VERSION = 1
NOTED = ("update", "drift", "proof")


class Spread(Struct):
    """One figure over many measurements: their mean, the least and the greatest."""

    count: Counter
    mean: float
    least: float
    most: float


class StageDay(Struct):
    """One stage of a frame, milliseconds: the p50 and the p95 of every measurement."""

    p50: Spread
    p95: Spread


class CameraDay(Struct):
    """How one camera stood to what the model was made for.

    Attributes:
        judged: In how many measurements it was judged.
        drifted: In how many of them it had drifted, by cause.
        figures: Medians of the windows, as times those of the baseline for that time of day, by figure.
    """

    judged: Counter = 0
    drifted: dict[str, Counter] = {}
    figures: dict[str, Spread] = {}


class Day(Struct):
    """One day, UTC.

    Attributes:
        date: As in 2026-01-31.
        starts: How often the agent started.
        measured_s: For how many seconds the agent measured, that is, ran; the rest of the day is a gap.
        serving_s: Those of them in which frames were processed.
        fps: Frames a second.
        temperature_c: Hottest sensor, degrees Celsius.
        stages: By stage.
        cameras: By camera.
        events: Objects that appeared, by label.
    """

    date: str
    starts: Counter = 0
    measured_s: float = 0.0
    serving_s: float = 0.0
    fps: Spread | None = None
    temperature_c: Spread | None = None
    stages: dict[str, StageDay] = {}
    cameras: dict[str, CameraDay] = {}
    events: dict[str, Counter] = {}


class Noted(Struct):
    """One row of the audit record that a report tells: `kind` is one of `NOTED`."""

    at_ms: Counter
    kind: str
    text: str


class DayHistory(Struct):
    """What a device kept of its last days, as it travels to the fleet.

    Attributes:
        at_ms: When it was put together, by the device's clock.
        days: In their order; days of which nothing is kept are missing.
        noted: Updates, drift and proofs, oldest first.
        unread: Files that say nothing, with the reason.
    """

    v: int
    device: Identifier
    at_ms: Counter
    days: list[Day]
    noted: list[Noted] = []
    unread: list[str] = []
