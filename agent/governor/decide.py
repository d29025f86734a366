"""One look at the device, one decision: stay, step down or climb. Pure, and explained.

- Down: as soon as something is over its limit, or heat will be within half a minute, and the dwell is over.
  The trouble says how far: latency to the first rung whose frames are quick enough, heat to the first that
  works at most 0.7 times as much, memory to the first that needs less.
- Up: one rung at a time, after a minute of quiet, if figures foretell that the rung above keeps every
  limit with room to spare. That room and the limit are the hysteresis.
- A rung that had to be left within `proof_s` of the climb to it may be tried again only after twice the wait of
  the time before, up to `longest_wait_s`; one that held for longer halves it. So it cannot oscillate.
- Two moves are never less than `dwell_s` apart, opposite ones never less than `climb_s`. Only an
  operator's pin is carried out at once.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from agent.governor.ladder import Ladder, Rung, place_of

_FORESIGHT_MIN = 0.5  # minutes ahead that heat is foreseen
_LESS = 0.7  # share of the work that is left after a step down for heat
_ROOM = 0.9  # share of the latency limit that a climb may be foretold to use
_FULL = 0.95  # busy share from which frames queue
_COOL_C = 5.0  # below the cap, where a climb is safe
_PATIENT_COOL_C = 2.0  # the same after the longest wait
_COOLING_C_MIN = -1.0  # a board over its cap that cools this fast is left alone


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
    proof_s: float = 600.0
    longest_wait_s: float = 1920.0


@dataclass(frozen=True)
class Situation:
    """What was sensed at one moment; None where nothing can be said.

    Attributes:
        at_s: Monotonic seconds.
        p95_ms: From capture to result, since the last move at most.
        queue_ms: p95 of a frame's age when its inference began.
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
    queue_ms: float | None = None
    temperature_c: float | None = None
    slope_c_min: float | None = None
    throttled: tuple[str, ...] = ()
    memory_pressure: float | None = None
    power_mode: str = ""
    held: str = ""
    pinned: str = ""


@dataclass(frozen=True)
class Memory:
    """What one step leaves for the next.

    Attributes:
        rung: Index of the present rung.
        since_s: When it was taken.
        climbed: Whether by a climb.
        ceiling: Rungs up to this index are not climbed to before `retry_s`; -1 for none.
        wait_s: How long the last such wait was; 0 before the first.
        power_mode: The board's power mode at the last step.
    """

    rung: int = 0
    since_s: float = float("-inf")
    climbed: bool = False
    ceiling: int = -1
    retry_s: float = float("-inf")
    wait_s: float = 0.0
    power_mode: str = ""


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


@dataclass(frozen=True)
class _Trouble:
    cause: Cause
    reason: str
    helps: Callable[[Rung], bool]


def step(
    ladder: Ladder, situation: Situation, memory: Memory, limits: Limits, pace: Pace = Pace()
) -> Decision:
    """Decide on the next move.

    Args:
        ladder: Rungs, best first.
        situation: What is sensed now.
        memory: What the last step left.
        limits: What must be kept.
        pace: How fast moves may follow each other.
    """
    memory = _under_mode(memory, situation.power_mode)
    if situation.held:
        return Decision(memory, None, situation.held)
    pinned = place_of(situation.pinned, ladder) if situation.pinned else None
    if pinned is not None:
        return _pin(pinned, situation, memory)
    quiet_s = situation.at_s - memory.since_s
    if quiet_s < pace.dwell_s:
        return Decision(memory, None, "settling after the last move")
    trouble = _trouble(ladder[memory.rung], situation, limits)
    if trouble is not None:
        return _descend(ladder, trouble, situation, memory, pace)
    return _climb(ladder, situation, memory, limits, pace)


def refused(memory: Memory, move: Move, at_s: float, pace: Pace) -> Memory:
    """Return what to remember of a move that could not be carried out: the rung stays as it is."""
    waited = _longer(memory, pace)
    ceiling = max(memory.ceiling, move.target if move.target < move.origin else -1)
    return replace(memory, since_s=at_s, ceiling=ceiling, wait_s=waited, retry_s=at_s + waited)


def _under_mode(memory: Memory, power_mode: str) -> Memory:
    """Forget failures that were made under another power mode: they say nothing about this one."""
    if power_mode == memory.power_mode:
        return memory
    return replace(memory, power_mode=power_mode, ceiling=-1, wait_s=0.0)


def _pin(target: int, situation: Situation, memory: Memory) -> Decision:
    if target == memory.rung:
        return Decision(memory, None, "pinned by an operator")
    move = Move(memory.rung, target, Cause.PINNED, "pinned by an operator")
    after = replace(memory, rung=target, since_s=situation.at_s, climbed=False)
    return Decision(after, move, move.reason)


# down ----------------------------------------------------------------------------------------------------


def _trouble(rung: Rung, now: Situation, limits: Limits) -> _Trouble | None:
    return _strained(rung, now, limits) or _late(rung, now, limits)


def _strained(rung: Rung, now: Situation, limits: Limits) -> _Trouble | None:
    """Return what the board suffers from."""
    busy = _busy(rung, rung, now)

    def works_less(other: Rung) -> bool:
        return _busy(other, rung, now) <= _LESS * busy

    if now.throttled:
        reason = f"the board slows itself down: {', '.join(now.throttled)}"
        return _Trouble(Cause.THROTTLED, reason, works_less)
    if _is_hot(now, limits.temperature_c):
        slope = f" at {now.slope_c_min:+.1f} °C/min" if now.slope_c_min is not None else ""
        reason = f"{now.temperature_c:.1f} °C{slope}, cap {limits.temperature_c:g} °C"
        return _Trouble(Cause.HEAT, reason, works_less)
    if now.memory_pressure is not None and now.memory_pressure > limits.memory_pressure:
        reason = f"tasks wait for memory {now.memory_pressure:.0f} % of the time, limit {limits.memory_pressure:g} %"
        return _Trouble(Cause.MEMORY, reason, lambda other: other.memory_mb < rung.memory_mb)
    return None


def _is_hot(now: Situation, cap_c: float) -> bool:
    if now.temperature_c is None:
        return False
    slope = now.slope_c_min or 0.0
    ahead_c = now.temperature_c + _FORESIGHT_MIN * max(0.0, slope)
    return ahead_c >= cap_c and slope > _COOLING_C_MIN


def _late(rung: Rung, now: Situation, limits: Limits) -> _Trouble | None:
    """Return what keeps results waiting: slow frames, or frames that wait for their turn."""
    if now.p95_ms is None or now.p95_ms <= limits.latency_ms:
        return None
    figures = f"p95 {now.p95_ms:.0f} ms, limit {limits.latency_ms:g} ms"
    work_ms = _work_ms(now)
    if work_ms > limits.latency_ms:
        reason = f"{figures}: a frame takes {work_ms:.0f} ms"
        return _Trouble(
            Cause.LATENCY, reason, lambda other: _foretold_ms(other, rung, now) <= limits.latency_ms
        )
    reason = f"{figures}: frames wait {now.queue_ms or 0:.0f} ms for their turn"
    return _Trouble(Cause.QUEUE, reason, lambda other: _busy(other, rung, now) < _FULL)


def _descend(
    ladder: Ladder, trouble: _Trouble, now: Situation, memory: Memory, pace: Pace
) -> Decision:
    target = _below(ladder, memory.rung, trouble)
    if target is None:
        return Decision(memory, None, f"{trouble.reason}; no rung below helps")
    waited = _wait_after(memory, now.at_s, pace)
    after = replace(
        memory,
        rung=target,
        since_s=now.at_s,
        climbed=False,
        ceiling=memory.rung,
        wait_s=waited,
        retry_s=now.at_s + waited,
    )
    move = Move(memory.rung, target, trouble.cause, trouble.reason, _figures(now))
    return Decision(after, move, move.reason)


def _below(ladder: Ladder, place: int, trouble: _Trouble) -> int | None:
    """Return the first rung below that helps, else the one that comes nearest to it."""
    below = range(place + 1, len(ladder))
    found = next((index for index in below if trouble.helps(ladder[index])), None)
    if found is not None or not below:
        return found
    if trouble.cause in {Cause.LATENCY, Cause.MEMORY}:  # fewer frames would not help
        quickest = min(below, key=lambda index: (ladder[index].cost_ms, index))
        is_quicker = ladder[quickest].cost_ms < ladder[place].cost_ms
        return quickest if is_quicker and trouble.cause is Cause.LATENCY else None
    return below[-1]


def _wait_after(memory: Memory, at_s: float, pace: Pace) -> float:
    stayed_s = at_s - memory.since_s
    if stayed_s >= pace.proof_s:
        return max(pace.climb_s, memory.wait_s / 2)
    return _longer(memory, pace) if memory.climbed else max(pace.climb_s, memory.wait_s)


def _longer(memory: Memory, pace: Pace) -> float:
    return min(max(pace.climb_s, 2 * memory.wait_s), pace.longest_wait_s)


# up ------------------------------------------------------------------------------------------------------


def _climb(
    ladder: Ladder, now: Situation, memory: Memory, limits: Limits, pace: Pace
) -> Decision:
    if memory.rung == 0:
        return Decision(memory, None, "all limits are kept on the top rung")
    obstacle = _too_early(now, memory, pace) or _too_little_room(ladder, now, memory, limits, pace)
    if obstacle:
        return Decision(memory, None, obstacle)
    target = memory.rung - 1
    after = replace(
        memory,
        rung=target,
        since_s=now.at_s,
        climbed=True,
        ceiling=-1 if target <= memory.ceiling else memory.ceiling,
    )
    move = Move(memory.rung, target, Cause.RECOVERED, _ease(now, limits), _figures(now))
    return Decision(after, move, move.reason)


def _too_early(now: Situation, memory: Memory, pace: Pace) -> str:
    if now.at_s - memory.since_s < pace.climb_s:
        return "waiting for quiet before a climb"
    if memory.rung - 1 <= memory.ceiling and now.at_s < memory.retry_s:
        return f"the rung above did not hold; it is tried again in {memory.retry_s - now.at_s:.0f} s"
    return ""


def _too_little_room(
    ladder: Ladder, now: Situation, memory: Memory, limits: Limits, pace: Pace
) -> str:
    """Return which limit the rung above would break; after the longest wait less room will do."""
    is_patient = now.at_s - memory.since_s >= pace.longest_wait_s
    if now.p95_ms is None:
        return "no frames to measure"
    if now.throttled or (now.memory_pressure or 0.0) > limits.memory_pressure / 2:
        return "the board is still under strain"
    cool_c = limits.temperature_c - (_PATIENT_COOL_C if is_patient else _COOL_C)
    ahead_c = (now.temperature_c or 0.0) + 2 * _FORESIGHT_MIN * (now.slope_c_min or 0.0)
    if now.temperature_c is not None and max(now.temperature_c, ahead_c) > cool_c:
        return f"{now.temperature_c:.1f} °C; a climb waits for {cool_c:g} °C"
    foretold_ms = _foretold_ms(ladder[memory.rung - 1], ladder[memory.rung], now)
    most_ms = limits.latency_ms * (1.0 if is_patient else _ROOM)
    if foretold_ms > most_ms:
        return f"the rung above would take {foretold_ms:.0f} ms, a climb waits for {most_ms:.0f} ms"
    return ""


def _ease(now: Situation, limits: Limits) -> str:
    heat = "" if now.temperature_c is None else f", {now.temperature_c:.1f} °C"
    return f"room again: p95 {now.p95_ms or 0:.0f} ms of {limits.latency_ms:g} ms{heat}"


# figures -------------------------------------------------------------------------------------------------


def _work_ms(now: Situation) -> float:
    return max(0.0, (now.p95_ms or 0.0) - (now.queue_ms or 0.0))


def _slowness(rung: Rung, now: Situation) -> float:
    """How much slower frames are than expected of `rung`, on which they were measured."""
    return _work_ms(now) / rung.cost_ms if now.p95_ms else 1.0


def _busy(other: Rung, rung: Rung, now: Situation) -> float:
    """Share of a second that inference would be busy on `other`, measured on `rung`."""
    return min(1.0, other.load * _slowness(rung, now))


def _foretold_ms(other: Rung, rung: Rung, now: Situation) -> float:
    """Milliseconds from capture to result foretold for `other`; where frames queue, one waits for another."""
    work_ms = other.cost_ms * _slowness(rung, now)
    queue_ms = work_ms if _busy(other, rung, now) > _FULL else 0.0
    return work_ms + queue_ms


def _figures(now: Situation) -> dict[str, float]:
    found = {
        "p95_ms": now.p95_ms,
        "queue_ms": now.queue_ms,
        "temperature_c": now.temperature_c,
        "slope_c_min": now.slope_c_min,
        "memory_pressure": now.memory_pressure,
    }
    return {name: round(value, 2) for name, value in found.items() if value is not None}
