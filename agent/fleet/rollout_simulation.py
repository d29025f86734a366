"""What a roll-out would do, by the same rules, in a made-up fleet. Pure; no device hears of it."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace

from agent.fleet.rollout_plan import WHOLE, Plan
from agent.fleet.rollout_rules import Verdict, decide_next
from agent.fleet.rollout_tally import Progress, Step, Tally

_DAY_MS = 24 * 3600 * 1000
_TICK_MS = 60_000


@dataclass(frozen=True)
class Assumptions:
    """How the made-up devices behave: `takes_s` from asked to the end; shares fail or are away for ever."""

    takes_s: int = 120
    failing_percent: int = 0
    offline_percent: int = 0


@dataclass(frozen=True)
class Moment:
    """One line of the story: seconds since the start, what is done in which wave (from 1), how many were asked by then, and why."""

    at_s: int
    verdict: str
    wave: int
    asked: int
    reason: str


def simulate(
    plan: Plan, waves: Mapping[str, int], assumed: Assumptions, start_ms: int
) -> list[Moment]:
    """Tell what would happen from `start_ms` (Unix milliseconds) on, until it ends or nothing more can happen.

    Args:
        plan: The plan.
        waves: Every device's wave, as `waves_of` gives them.
        assumed: How devices behave; which of them fail or are away follows from their names.
        start_ms: When it is started, which matters for the maintenance window.
    """
    tally = Tally(
        len(plan.waves),
        (
            Progress(name, wave, online=not _hit(name, "offline", assumed.offline_percent))
            for name, wave in waves.items()
        ),
    )
    at_work: deque[Progress] = deque()
    story: list[Moment] = []
    now_ms = changed_ms = start_ms
    asked = 0
    # Nobody is at work for longer, no soak lasts longer, and no window is closed for longer than a day.
    longest_ms = _DAY_MS + 1000 * (plan.soak_s + plan.answer_within_s + assumed.takes_s)
    while now_ms - changed_ms <= longest_ms:
        while at_work and now_ms - at_work[0].sent_ms >= assumed.takes_s * 1000:
            tally.put(_ended(at_work.popleft(), assumed, now_ms))
        decision = decide_next(plan, tally, now_ms)
        for name in decision.send:
            at_work.append(Progress(name, waves[name], Step.WORKING, sent_ms=now_ms))
            tally.put(at_work[-1])
        asked += len(decision.send)
        at_s = (now_ms - start_ms) // 1000
        moment = Moment(at_s, decision.verdict.value, decision.wave + 1, asked, decision.reason)
        if not story or _differs(story[-1], moment):
            story.append(moment)
            changed_ms = now_ms
        if decision.verdict in {Verdict.HALT, Verdict.DONE}:
            return story
        now_ms += _TICK_MS
    return story


def _ended(one: Progress, assumed: Assumptions, now_ms: int) -> Progress:
    failed = _hit(one.device, "fails", assumed.failing_percent)
    return replace(one, step=Step.FAILED if failed else Step.COMMITTED, settled_ms=now_ms)


def _differs(before: Moment, after: Moment) -> bool:
    # A soak that counts down minute by minute is one line.
    return (before.verdict, before.wave, before.asked) != (after.verdict, after.wave, after.asked)


def _hit(device: str, what: str, percent: int) -> bool:
    digest = hashlib.sha256(f"{what}/{device}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % WHOLE < percent
