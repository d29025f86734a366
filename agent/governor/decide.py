"""One look at the device, one decision: stay, step down or climb. Pure, and explained.

- Down: as soon as something is over its limit, or heat will be within half a minute, and the dwell is over.
  The trouble says how far: latency to the first rung whose frames are quick enough, heat to the first that
  works at most 0.7 times as much, memory to the first that needs less.
- Up: one rung at a time, after a minute of quiet, if figures foretell that the rung above keeps every
  limit with room to spare. That room and the limit are the hysteresis.
- A rung that had to be left within `proof_s` of the climb to it may be tried again only after twice its wait of
  the time before, up to `longest_wait_s`; one that held for longer halves it. A rung that a fall passes over waits
  as long as the last time. So it cannot oscillate.
- Two moves are never less than `dwell_s` apart, a climb never less than `climb_s` from the move before. Only
  an operator's pin is carried out at once.
"""

from __future__ import annotations

from dataclasses import replace

from agent.governor.ladder import Ladder, place_of
from agent.governor.situation import Cause, Decision, Limits, Memory, Move, Pace, Situation, Wait
from agent.governor.troubles import FORESIGHT_MIN, Trouble, figures_of, foretold_ms, trouble_of

_ROOM = 0.9  # share of the latency limit that a climb may be foretold to use
_COOL_C = 5.0  # below the cap, where a climb is safe
_PATIENT_COOL_C = 2.0  # the same after the longest wait
_SETTLED = Pace()


def step(
    ladder: Ladder, situation: Situation, memory: Memory, limits: Limits, pace: Pace = _SETTLED
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
    trouble = trouble_of(ladder[memory.rung], situation, limits)
    if trouble is not None:
        return _descend(ladder, trouble, situation, memory, pace)
    return _climb(ladder, situation, memory, limits, pace)


def refused(ladder: Ladder, memory: Memory, move: Move, at_s: float, pace: Pace) -> Memory:
    """Return what to remember of a move that could not be carried out: the rung stays as it is."""
    after, target = replace(memory, since_s=at_s), ladder[move.target].name
    if move.target > move.origin:
        return after
    return after.waiting(target, at_s, _longer(memory.wait(target), pace))


def _under_mode(memory: Memory, power_mode: str) -> Memory:
    """Forget failures that were made under another power mode: they say nothing about this one."""
    if power_mode == memory.power_mode:
        return memory
    return replace(memory, power_mode=power_mode, waits={})


def _pin(target: int, situation: Situation, memory: Memory) -> Decision:
    if target == memory.rung:
        return Decision(memory, None, "pinned by an operator")
    move = Move(memory.rung, target, Cause.PINNED, "pinned by an operator")
    after = replace(memory, rung=target, since_s=situation.at_s, climbed=False)
    return Decision(after, move, move.reason)


# down ----------------------------------------------------------------------------------------------------


def _descend(
    ladder: Ladder, trouble: Trouble, now: Situation, memory: Memory, pace: Pace
) -> Decision:
    target = _below(ladder, memory.rung, trouble)
    if target is None:
        return Decision(memory, None, f"{trouble.reason}; no rung below helps")
    passed = _passed(ladder, memory, target, now.at_s, pace)
    after = replace(passed, rung=target, since_s=now.at_s, climbed=False)
    move = Move(memory.rung, target, trouble.cause, trouble.reason, figures_of(now))
    return Decision(after, move, move.reason)


def _below(ladder: Ladder, place: int, trouble: Trouble) -> int | None:
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


def _passed(ladder: Ladder, memory: Memory, target: int, at_s: float, pace: Pace) -> Memory:
    """Let the present rung wait, which did not hold, and those down to `target`, which would not have."""
    left, *over = (rung.name for rung in ladder[memory.rung : target])
    after = memory.waiting(left, at_s, _wait_after(memory, memory.wait(left), at_s, pace))
    for name in over:
        after = after.waiting(name, at_s, max(pace.climb_s, memory.wait(name).length_s))
    return after


def _wait_after(memory: Memory, before: Wait, at_s: float, pace: Pace) -> float:
    if at_s - memory.since_s >= pace.proof_s:
        return max(pace.climb_s, before.length_s / 2)
    return _longer(before, pace) if memory.climbed else max(pace.climb_s, before.length_s)


def _longer(before: Wait, pace: Pace) -> float:
    return min(max(pace.climb_s, 2 * before.length_s), pace.longest_wait_s)


# up ------------------------------------------------------------------------------------------------------


def _climb(ladder: Ladder, now: Situation, memory: Memory, limits: Limits, pace: Pace) -> Decision:
    if memory.rung == 0:
        return Decision(memory, None, "all limits are kept on the top rung")
    obstacle = _too_early(ladder, now, memory, pace) or _too_little_room(
        ladder, now, memory, limits, pace
    )
    if obstacle:
        return Decision(memory, None, obstacle)
    target = memory.rung - 1
    after = replace(memory, rung=target, since_s=now.at_s, climbed=True)
    move = Move(memory.rung, target, Cause.RECOVERED, _ease(now, limits), figures_of(now))
    return Decision(after, move, move.reason)


def _too_early(ladder: Ladder, now: Situation, memory: Memory, pace: Pace) -> str:
    if now.at_s - memory.since_s < pace.climb_s:
        return "waiting for quiet before a climb"
    left_s = memory.wait(ladder[memory.rung - 1].name).until_s - now.at_s
    if left_s > 0:
        return f"the rung above did not hold; it is tried again in {left_s:.0f} s"
    return ""


def _too_little_room(
    ladder: Ladder, now: Situation, memory: Memory, limits: Limits, pace: Pace
) -> str:
    """Return which limit the rung above would break.

    After the longest wait less room will do, and where results take half of what they may, a climb is tried whatever
    the figures foretell: they may be old, or taken on a bad day.
    """
    is_patient = now.at_s - memory.since_s >= pace.longest_wait_s
    if now.p95_ms is None:
        return "no frames to measure"
    if now.throttled or (now.memory_pressure or 0.0) > limits.memory_pressure / 2:
        return "the board is still under strain"
    cool_c = limits.temperature_c - (_PATIENT_COOL_C if is_patient else _COOL_C)
    ahead_c = (now.temperature_c or 0.0) + 2 * FORESIGHT_MIN * (now.slope_c_min or 0.0)
    if now.temperature_c is not None and max(now.temperature_c, ahead_c) > cool_c:
        return f"{now.temperature_c:.1f} °C; a climb waits for {cool_c:g} °C"
    if is_patient and now.p95_ms <= limits.latency_ms / 2:
        return ""
    ahead_ms = foretold_ms(ladder[memory.rung - 1], ladder[memory.rung], now)
    most_ms = limits.latency_ms * (1.0 if is_patient else _ROOM)
    if ahead_ms > most_ms:
        return f"the rung above would take {ahead_ms:.0f} ms, a climb waits for {most_ms:.0f} ms"
    return ""


def _ease(now: Situation, limits: Limits) -> str:
    heat = "" if now.temperature_c is None else f", {now.temperature_c:.1f} °C"
    return f"room again: p95 {now.p95_ms or 0:.0f} ms of {limits.latency_ms:g} ms{heat}"
