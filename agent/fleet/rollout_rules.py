"""What a roll-out does next, given its plan and what every device reported. Pure.

| a device is | it | counts as |
| --- | --- | --- |
| waiting | was not asked | nothing yet |
| asked | was sent its command, and did not say that it took it | failed after `answer_within_s` |
| working | took the command | failed after `answer_within_s` |
| committed | has the release | success |
| failed | refused, rejected or rolled back, and has the release before | failed |

| a roll-out is | and is told to | becomes |
| --- | --- | --- |
| running | pause / abort | paused / aborted |
| paused | resume / abort | running / aborted |
| halted, done, aborted | anything | what it is: an end |
"""

from __future__ import annotations

import enum
import heapq
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from agent.errors import CommandError
from agent.fleet.rollout_plan import WHOLE, Plan, share_of
from agent.fleet.rollout_tally import Progress, Tally, WaveTally
from agent.host.clock import utc
from agent.host.words import counted


class Standing(str, enum.Enum):
    """Where a roll-out is."""

    RUNNING = "running"
    PAUSED = "paused"
    HALTED = "halted"
    DONE = "done"
    ABORTED = "aborted"


class Verdict(str, enum.Enum):
    """What to do now."""

    SEND = "send"
    WAIT = "wait"
    HALT = "halt"
    DONE = "done"


MOVES = {
    (Standing.RUNNING, "pause"): Standing.PAUSED,
    (Standing.RUNNING, "abort"): Standing.ABORTED,
    (Standing.PAUSED, "resume"): Standing.RUNNING,
    (Standing.PAUSED, "abort"): Standing.ABORTED,
}


@dataclass(frozen=True)
class Decision:
    """What to do now, whom to ask (for `send`), in which wave (from 0), and why, for a person."""

    verdict: Verdict
    wave: int
    reason: str
    send: tuple[str, ...] = ()


def moved(standing: Standing, order: str) -> Standing:
    """Return what a roll-out becomes when a person tells it to pause, resume or abort.

    Raises:
        CommandError: It cannot be told that where it is (`rollout.state`).
    """
    found = MOVES.get((standing, order))
    if found is None:
        message = f"a roll-out that is {standing.value} cannot {order}"
        orders = [one for at, one in MOVES if at is standing]
        hint = (
            f"it can {' or '.join(orders)}" if orders else "a further try is a plan of another name"
        )
        raise CommandError(message, code="rollout.state", hint=hint)
    return found


def decide(plan: Plan, devices: Sequence[Progress], now_ms: int) -> Decision:
    """Decide what a running roll-out with these devices does at `now_ms` (Unix milliseconds)."""
    return decide_next(plan, Tally(len(plan.waves), devices), now_ms)


def decide_next(plan: Plan, tally: Tally, now_ms: int, deaf_ms: int = 0) -> Decision:
    """Decide the same for devices that are counted already.

    Whoever was not connected, last at `deaf_ms` (Unix milliseconds), cannot tell who was silent before.

    Failures are looked at first, in all waves: nobody is asked in the same breath in which it halts.
    """
    waves = tally.waves
    asked_before_ms = now_ms - plan.answer_within_s * 1000
    for wave in waves if asked_before_ms >= deaf_ms else ():
        wave.age(asked_before_ms)
    halt = _halt(plan, waves)
    if halt is not None:
        return halt
    if all(wave.ended for wave in waves):
        reason = f"{tally.committed} of {len(tally)} have the release"
        return Decision(Verdict.DONE, len(waves) - 1, reason)
    current, gate = _front(plan, waves, now_ms)
    opened = waves[: current + 1]
    send = tuple(device for wave in opened for device in wave.ready)
    if send and not _in_window(plan, now_ms):
        return Decision(
            Verdict.WAIT,
            current,
            f"the maintenance window is closed for {counted(len(send), 'device')}",
        )
    if send:
        return Decision(Verdict.SEND, current, f"wave {current + 1} is open", send)
    return Decision(Verdict.WAIT, current, _why_wait(opened) or gate)


def _halt(plan: Plan, waves: Sequence[WaveTally]) -> Decision | None:
    for number, wave in enumerate(waves):
        failed = len(wave.failed) + len(wave.silent)
        if failed * WHOLE > plan.max_failed_percent * len(wave.devices):
            names = heapq.nsmallest(5, itertools.chain(wave.failed, wave.silent))
            reason = (
                f"wave {number + 1}: {failed} of {len(wave.devices)} failed, "
                f"at most {plan.max_failed_percent} % may: {', '.join(names)}"
            )
            return Decision(Verdict.HALT, number, reason)
    return None


def _front(plan: Plan, waves: Sequence[WaveTally], now_ms: int) -> tuple[int, str]:
    """Return the last wave that is open, and what the next one waits for."""
    last = len(waves) - 1
    for number, wave in enumerate(waves):
        gate = _gate(plan, wave, now_ms)
        if gate or number == last:
            return number, f"wave {number + 1}: {gate or 'the rest is at work'}"
    raise AssertionError("a plan has waves")


def _gate(plan: Plan, wave: WaveTally, now_ms: int) -> str:
    """Return what a wave still owes before the next may begin, empty when nothing."""
    needed, ends_ms = share_of(plan.success_percent, len(wave.devices)), wave.committed_ms
    if len(ends_ms) < needed:
        return f"{len(ends_ms)} of the {needed} that must succeed have"
    # The soak begins with the commit that fulfilled the threshold: known from the journal alone.
    # A commit that was written down after this look at the clock is as old as it.
    soaked_ms = max(0, now_ms - ends_ms[needed - 1]) if needed else plan.soak_s * 1000
    left_ms = plan.soak_s * 1000 - soaked_ms
    return f"soaks for another {left_ms / 1000:.0f} s" if left_ms > 0 else ""


def _in_window(plan: Plan, now_ms: int) -> bool:
    hour = utc(now_ms).hour
    return plan.window is None or plan.window.holds(hour)


def _why_wait(opened: Sequence[WaveTally]) -> str:
    """Return why devices of the open waves were not asked."""
    unsigned = sum(len(wave.unsigned) for wave in opened)
    offline = sum(len(wave.offline) for wave in opened)
    parts = []
    if unsigned:
        parts.append(
            f"no command that is still valid for {counted(unsigned, 'device')}: sign and `rollout add`"
        )
    if offline:
        parts.append(f"offline: {counted(offline, 'device')}")
    return "; ".join(parts)
