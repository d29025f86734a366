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
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from agent.errors import CommandError
from agent.fleet.rollout_plan import WHOLE, Plan, share_of


class Standing(str, enum.Enum):
    """Where a roll-out is."""

    RUNNING = "running"
    PAUSED = "paused"
    HALTED = "halted"
    DONE = "done"
    ABORTED = "aborted"


class Step(str, enum.Enum):
    """Where a device is in a roll-out."""

    WAITING = "waiting"
    ASKED = "asked"
    WORKING = "working"
    COMMITTED = "committed"
    FAILED = "failed"


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
_OPEN = {Step.ASKED, Step.WORKING}


@dataclass(frozen=True)
class Progress:
    """One device of a roll-out.

    Attributes:
        wave: Number of its wave, from 0.
        sent_ms: When it was asked, Unix milliseconds.
        settled_ms: When its end was heard of.
        online: Whether it can be reached now.
        valid: Whether there is a command for it that has not expired.
        unsure: It was written down as asked, and nobody knows whether the command left.
    """

    device: str
    wave: int
    step: Step = Step.WAITING
    sent_ms: int = 0
    settled_ms: int = 0
    online: bool = True
    valid: bool = True
    unsure: bool = False


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
        hint = "start a new roll-out, under another name"
        raise CommandError(message, code="rollout.state", hint=hint)
    return found


def decide(plan: Plan, devices: Sequence[Progress], now_ms: int) -> Decision:
    """Decide what a running roll-out does at `now_ms` (Unix milliseconds).

    Failures are looked at first, in all waves: nobody is asked in the same breath in which it halts.
    """
    waves = [[one for one in devices if one.wave == number] for number in range(len(plan.waves))]
    halt = _halt(plan, waves, now_ms)
    if halt is not None:
        return halt
    if all(one.step is Step.COMMITTED or _failed(plan, one, now_ms) for one in devices):
        return Decision(Verdict.DONE, len(waves) - 1, _count(devices))
    current, gate = _front(plan, waves, now_ms)
    waiting = [one for one in devices if one.wave <= current and _unasked(one)]
    send = tuple(one.device for one in waiting if one.online and one.valid)
    if send and not _in_window(plan, now_ms):
        return Decision(Verdict.WAIT, current, f"{len(send)} wait for the maintenance window")
    if send:
        return Decision(Verdict.SEND, current, f"wave {current + 1} is open", send)
    return Decision(Verdict.WAIT, current, _why_wait(waiting) or gate)


def _halt(plan: Plan, waves: Sequence[Sequence[Progress]], now_ms: int) -> Decision | None:
    for number, wave in enumerate(waves):
        failed = [one.device for one in wave if _failed(plan, one, now_ms)]
        if len(failed) * WHOLE > plan.max_failed_percent * len(wave):
            reason = (
                f"wave {number + 1}: {len(failed)} of {len(wave)} failed, "
                f"at most {plan.max_failed_percent} % may: {', '.join(failed[:5])}"
            )
            return Decision(Verdict.HALT, number, reason)
    return None


def _front(plan: Plan, waves: Sequence[Sequence[Progress]], now_ms: int) -> tuple[int, str]:
    """Return the last wave that is open, and what the next one waits for."""
    last = len(waves) - 1
    for number, wave in enumerate(waves):
        gate = _gate(plan, wave, now_ms)
        if gate or number == last:
            return number, f"wave {number + 1}: {gate or 'the rest is at work'}"
    raise AssertionError("a plan has waves")


def _gate(plan: Plan, wave: Sequence[Progress], now_ms: int) -> str:
    """Return what a wave still owes before the next may begin, empty when nothing."""
    needed = share_of(plan.success_percent, len(wave))
    ends_ms = sorted(one.settled_ms for one in wave if one.step is Step.COMMITTED)
    if len(ends_ms) < needed:
        return f"{len(ends_ms)} of the {needed} that must succeed have"
    # The soak begins with the commit that fulfilled the threshold: known from the journal alone.
    left_ms = ends_ms[needed - 1] + plan.soak_s * 1000 - now_ms if needed else 0
    return f"soaks for another {left_ms / 1000:.0f} s" if left_ms > 0 else ""


def _failed(plan: Plan, one: Progress, now_ms: int) -> bool:
    silent = one.step in _OPEN and now_ms - one.sent_ms > plan.answer_within_s * 1000
    return silent or one.step is Step.FAILED


def _unasked(one: Progress) -> bool:
    return one.step is Step.WAITING or (one.step is Step.ASKED and one.unsure)


def _in_window(plan: Plan, now_ms: int) -> bool:
    hour = datetime.fromtimestamp(now_ms / 1000, timezone.utc).hour
    return plan.window is None or plan.window.holds(hour)


def _why_wait(waiting: Sequence[Progress]) -> str:
    unsigned = sum(not one.valid for one in waiting)
    offline = sum(one.valid and not one.online for one in waiting)
    parts = []
    if unsigned:
        parts.append(f"{unsigned} have no command that is still valid: sign and `rollout add`")
    if offline:
        parts.append(f"{offline} are offline")
    return "; ".join(parts)


def _count(devices: Sequence[Progress]) -> str:
    committed = sum(one.step is Step.COMMITTED for one in devices)
    return f"{committed} of {len(devices)} have the release"
