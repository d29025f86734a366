"""A board that gets warm, its camera and its frames: what the governor's decisions do to a device.

First order: the temperature goes towards `ambient + idle + busy share * (busy - idle)` with one time constant, as
`C dT/dt = P - (T - ambient) / R` does with the degrees above ambient R * P at idle and with inference always busy.
A frame takes its variant's time, longer when others use the processor and when the firmware slows it down.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from agent.governor.decide import step
from agent.governor.ladder import Ladder, Rates, build_ladder
from agent.governor.sensing import slope_c_min
from agent.governor.situation import Limits, Memory, Move, Pace, Situation
from agent.schema.manifest import InputSpec, SealedFile, Variant
from agent.schema.values import BackendName, FamilyName, Precision

Course = Callable[[float], float]


@dataclass(frozen=True)
class Board:
    """Degrees above ambient at idle and busy, seconds, and from where the firmware slows down."""

    name: str
    idle_c: float
    busy_c: float
    throttle_c: float
    tau_s: float
    slowed: float = 1.7


# The time constants are assumptions: published curves level out within some minutes.
#
# 27.4 and 38.5 degrees above 27.3 in free air, idle and with sysbench on four cores: pi-plates.com, "Using a
# THERMOplate to measure temperatures on the RPi4". The clock falls from 1500 to 1000 MHz at 80 degrees:
# Roy Longbottom, "Raspberry Pi 4B Stress Tests". A closed case is taken to add a third.
PI4 = Board("Raspberry Pi 4 in a closed case", 1.33 * 27.4, 1.33 * 38.5, 80.0, 240.0, slowed=1.5)
# Without a heat sink: peak of 89 degrees under benchmarks (phoronix.com, "Raspberry Pi 5 Benchmarks"), some 50 at
# idle; 22 degrees in the room are an assumption.
PI5 = Board("Raspberry Pi 5 without a heat sink", 28.0, 67.0, 80.0, 180.0)
# No published rise above ambient was found: an assumption for the developer kit's fan at its quietest.
ORIN_NANO = Board("Jetson Orin Nano", 18.0, 48.0, 99.0, 300.0)


def variant(name: str, size: int, accuracy: float, memory_mb: int = 200) -> Variant:
    return Variant(
        id=name,
        backend=BackendName.ONNXRUNTIME,
        precision=Precision.FP32,
        family=FamilyName.YOLOX,
        input=InputSpec(width=size, height=size),
        payload=SealedFile(file=f"{name}.sealed", size=1, sha256="0" * 64),
        accuracy=accuracy,
        memory_mb=memory_mb,
    )


def ladder(costs_ms: dict[int, float], full_fps: float, least_fps: float) -> Ladder:
    """A ladder of one model at several input sizes, whose costs in milliseconds are given by size."""
    sizes = sorted(costs_ms, reverse=True)
    variants = [variant(f"n-{size}", size, 0.2 + size / 4000) for size in sizes]
    known = {f"n-{size}": cost for size, cost in costs_ms.items()}
    return build_ladder(variants, known, Rates(full_fps, least_fps))


@dataclass(frozen=True)
class Day:
    """What the world does: degrees around the board, and how much slower others make every frame (1: not)."""

    ambient_c: Course
    slowness: Course = lambda _at_s: 1.0


@dataclass(frozen=True)
class Sample:
    """One second of the trace."""

    at_s: float
    temperature_c: float
    rung: int
    p95_ms: float
    queue_ms: float
    move: Move | None = None


@dataclass
class Device:
    """A simulated board with the real decisions; `begin_c` is its temperature at the start."""

    board: Board
    ladder: Ladder
    limits: Limits
    day: Day
    pace: Pace = field(default_factory=Pace)
    begin_c: float = 50.0

    def live(self, seconds: int) -> Iterator[Sample]:
        """Run for so many seconds, one decision a second."""
        degrees, memory = self.begin_c, Memory(since_s=0.0)
        warmth: deque[tuple[float, float]] = deque(maxlen=12)
        slope: float | None = None
        for second in range(seconds):
            now = float(second)
            degrees += (self._target_c(now, memory.rung, degrees) - degrees) / self.board.tau_s
            if second % 5 == 0:
                warmth.append((now, degrees))
                slope = slope_c_min([one for one in warmth if one[0] >= memory.since_s])
            work_ms, queue_ms = self._frame(now, memory.rung, degrees)
            is_slowed = degrees >= self.board.throttle_c
            situation = Situation(
                at_s=now,
                p95_ms=work_ms + queue_ms,
                work_ms=work_ms,
                queue_ms=queue_ms,
                temperature_c=degrees,
                slope_c_min=slope,
                throttled=("throttled",) if is_slowed else (),
            )
            rung = memory.rung
            decision = step(self.ladder, situation, memory, self.limits, self.pace)
            memory = decision.memory
            yield Sample(now, degrees, rung, work_ms + queue_ms, queue_ms, decision.move)

    def _frame(self, now: float, rung: int, degrees: float) -> tuple[float, float]:
        slowed = self.board.slowed if degrees >= self.board.throttle_c else 1.0
        work_ms = self.ladder[rung].cost_ms * self.day.slowness(now) * slowed
        busy = work_ms * self.ladder[rung].fps / 1000
        return work_ms, (work_ms if busy >= 1 else 0.0)

    def _target_c(self, now: float, rung: int, degrees: float) -> float:
        work_ms, _ = self._frame(now, rung, degrees)
        others = 1 - 1 / self.day.slowness(now)  # what slows frames down warms the board as well
        busy = min(1.0, others + work_ms * self.ladder[rung].fps / 1000)
        board = self.board
        return self.day.ambient_c(now) + board.idle_c + busy * (board.busy_c - board.idle_c)


def moves(trace: Iterable[Sample]) -> list[tuple[float, Move]]:
    return [(sample.at_s, sample.move) for sample in trace if sample.move]


def most_per_hour(found: list[tuple[float, Move]]) -> int:
    """The greatest number of moves in any hour."""
    times = [at_s for at_s, _ in found]
    return max((sum(at <= one < at + 3600 for one in times) for at in times), default=0)


def wave(
    low: float, high: float, *, rise_s: float, fall_s: float, slope_s: float = 1200.0
) -> Course:
    """A course that goes from `low` to `high` in `slope_s` seconds from `rise_s` on, and back from `fall_s` on."""

    def at(now: float) -> float:
        up = min(1.0, max(0.0, (now - rise_s) / slope_s))
        down = min(1.0, max(0.0, (now - fall_s) / slope_s))
        return low + (high - low) * (up - down)

    return at
