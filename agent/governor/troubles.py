"""What is wrong on a rung, and what another rung would make of it. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agent.governor.ladder import Rung
from agent.governor.situation import Cause, Limits, Situation

FORESIGHT_MIN = 0.5  # minutes ahead that heat is foreseen
_LESS = 0.7  # share of the work that is left after a step down for heat
_FULL = 0.95  # busy share from which frames queue
_COOLING_C_MIN = -1.0  # a board over its cap that cools this fast is left alone


@dataclass(frozen=True)
class Trouble:
    """What must change: `helps` says whether a rung below changes it enough."""

    cause: Cause
    reason: str
    helps: Callable[[Rung], bool]


def trouble_of(rung: Rung, now: Situation, limits: Limits) -> Trouble | None:
    """Return the most pressing trouble of the present `rung`; the board goes before its results."""
    return _strained(rung, now, limits) or _late(rung, now, limits)


def _strained(rung: Rung, now: Situation, limits: Limits) -> Trouble | None:
    """Return what the board suffers from."""
    busy = busy_on(rung, rung, now)

    def works_less(other: Rung) -> bool:
        return busy_on(other, rung, now) <= _LESS * busy

    if now.throttled:
        reason = f"the board slows itself down: {', '.join(now.throttled)}"
        return Trouble(Cause.THROTTLED, reason, works_less)
    if _is_hot(now, limits.temperature_c):
        slope = f" at {now.slope_c_min:+.1f} °C/min" if now.slope_c_min is not None else ""
        reason = f"{now.temperature_c:.1f} °C{slope}, cap {limits.temperature_c:g} °C"
        return Trouble(Cause.HEAT, reason, works_less)
    if now.memory_pressure is not None and now.memory_pressure > limits.memory_pressure:
        reason = f"tasks wait for memory {now.memory_pressure:.0f} % of the time, limit {limits.memory_pressure:g} %"
        return Trouble(Cause.MEMORY, reason, lambda other: other.memory_mb < rung.memory_mb)
    return None


def _is_hot(now: Situation, cap_c: float) -> bool:
    if now.temperature_c is None:
        return False
    slope = now.slope_c_min or 0.0
    ahead_c = now.temperature_c + FORESIGHT_MIN * max(0.0, slope)
    return ahead_c >= cap_c and slope > _COOLING_C_MIN


def _late(rung: Rung, now: Situation, limits: Limits) -> Trouble | None:
    """Return what keeps results waiting: slow frames, or frames that wait for their turn."""
    if now.p95_ms is None or now.p95_ms <= limits.latency_ms:
        return None
    figures = f"p95 {now.p95_ms:.0f} ms, limit {limits.latency_ms:g} ms"
    work_ms = now.work_ms or 0.0
    if work_ms > limits.latency_ms:
        reason = f"{figures}: a frame takes {work_ms:.0f} ms"
        return Trouble(
            Cause.LATENCY, reason, lambda other: foretold_ms(other, rung, now) <= limits.latency_ms
        )
    reason = f"{figures}: frames wait {now.queue_ms or 0:.0f} ms for their turn"
    return Trouble(Cause.QUEUE, reason, lambda other: busy_on(other, rung, now) < _FULL)


def _slowness(rung: Rung, now: Situation) -> float:
    """How much slower frames are than expected of `rung`, on which they were measured."""
    return now.work_ms / rung.cost_ms if now.work_ms else 1.0


def busy_on(other: Rung, rung: Rung, now: Situation) -> float:
    """Share of a second that inference would be busy on `other`, measured on `rung`."""
    return min(1.0, other.load * _slowness(rung, now))


def foretold_ms(other: Rung, rung: Rung, now: Situation) -> float:
    """Milliseconds from capture to result foretold for `other`; where frames queue, one waits for another."""
    work_ms = other.cost_ms * _slowness(rung, now)
    queue_ms = work_ms if busy_on(other, rung, now) > _FULL else 0.0
    return work_ms + queue_ms


def figures_of(now: Situation) -> dict[str, float]:
    """Return what is known, for the event of a move."""
    found = {
        "p95_ms": now.p95_ms,
        "work_ms": now.work_ms,
        "queue_ms": now.queue_ms,
        "temperature_c": now.temperature_c,
        "slope_c_min": now.slope_c_min,
        "memory_pressure": now.memory_pressure,
    }
    return {name: round(value, 2) for name, value in found.items() if value is not None}
