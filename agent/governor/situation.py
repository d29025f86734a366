"""The values a decision is made of and makes: what is sensed, what must be kept, what is remembered."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace


class Cause(str, enum.Enum):
    """Why a move was made."""

    HEAT = "heat"
    THROTTLED = "throttled"
    LATENCY = "latency"
    QUEUE = "queue"
    MEMORY = "memory"
    RECOVERED = "recovered"
    PINNED = "pinned"
    FAILED = "failed"


@dataclass(frozen=True)
class Limits:
    """What must be kept: p95 from capture to result, temperature, percent of time waiting for memory."""

    latency_ms: float
    temperature_c: float
    memory_pressure: float = 10.0


@dataclass(frozen=True)
class Pace:
    """Seconds: between moves, before a climb, for a rung to prove itself, and the longest wait."""

    dwell_s: float = 15.0
    climb_s: float = 60.0
    proof_s: float = 900.0
    longest_wait_s: float = 1920.0


@dataclass(frozen=True)
class Situation:
    """What was sensed at one moment; None where nothing can be said.

    Attributes:
        at_s: Monotonic seconds.
        p95_ms: From capture to result, since the last move at most.
        work_ms: p95 of the same without the wait for its turn.
        queue_ms: p95 of a frame's age when its turn came.
        temperature_c: Hottest sensor.
        slope_c_min: Its change, degrees Celsius per minute.
        throttled: What slows the board down now.
        memory_pressure: Percent of the last ten seconds in which some task waited for memory.
        power_mode: The board's power mode.
        held: Why the governor must rest; empty when it need not.
        pinned: Rung that an operator wants; empty when none does.
    """

    at_s: float
    p95_ms: float | None = None
    work_ms: float | None = None
    queue_ms: float | None = None
    temperature_c: float | None = None
    slope_c_min: float | None = None
    throttled: tuple[str, ...] = ()
    memory_pressure: float | None = None
    power_mode: str = ""
    held: str = ""
    pinned: str = ""


@dataclass(frozen=True)
class Wait:
    """How long a rung that did not hold is left alone, and until when."""

    length_s: float = 0.0
    until_s: float = float("-inf")


@dataclass(frozen=True)
class Memory:
    """What one step leaves for the next.

    Attributes:
        rung: Index of the present rung.
        since_s: When it was taken.
        climbed: Whether by a climb.
        waits: Of each rung that did not hold, by its name.
        power_mode: The board's power mode at the last step.
    """

    rung: int = 0
    since_s: float = float("-inf")
    climbed: bool = False
    waits: Mapping[str, Wait] = field(default_factory=dict)
    power_mode: str = ""

    def wait(self, rung: str) -> Wait:
        """Return the last wait for a rung; none before the first."""
        return self.waits.get(rung, Wait())

    def waiting(self, rung: str, at_s: float, length_s: float) -> Memory:
        """Return the same with `rung` left alone for `length_s` from `at_s` on."""
        return replace(self, waits={**self.waits, rung: Wait(length_s, at_s + length_s)})


@dataclass(frozen=True)
class Move:
    """A step from one index to another."""

    origin: int
    target: int
    cause: Cause
    reason: str
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Decision:
    """The move to make, if any, why it is so, and what to remember once it is made."""

    memory: Memory
    move: Move | None
    why: str
