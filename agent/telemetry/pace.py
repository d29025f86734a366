"""Whether inference got slower than it was on this device with this model, in which stage, and what is responsible. Pure.

A look is taken every ten seconds. Six in a row that are `SLOW` times the past, and 2 ms more, begin slowness; six in a
row under `_RELIEF` times end it. What is slow, or may be, is not added to the past, so that no alarm ends by habit.
"""

from __future__ import annotations

import statistics
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence

import msgspec

from agent.schema.pace import SLOW, PaceReport, medians, ratio, slowest
from agent.schema.values import Struct

LEARNING, USUAL, SLOWER = "learning", "usual", "slow"
LOOKS = 6
"""Looks in a row that begin or end slowness, and that the present is the median of."""
FIRST, LATER = 30, 360
"""Looks that the first stretch of the past is the median of, and every later one: five minutes, an hour."""
KEPT = 24
_RELIEF = 1.25

# What must have changed to be held responsible.
_CLOCK, _CORES, _MEMORY = 0.9, 0.3, 10.0
_THREADS = {
    "capture": "a camera's thread reads and decodes",
    "pre": "a camera's thread scales, the model's thread fills the input",
    "infer": "the model's thread and those of the runtime",
    "post": "the model's thread decodes what the network says",
    "publish": "the publisher's thread tracks, keeps and sends",
}


class Look(Struct):
    """One look, or the medians of many.

    Attributes:
        stages_ms: Median of each stage.
        clock_mhz: Of the core that is furthest below its maximum; None where the kernel does not say.
        others: Cores that other processes used; None before the second look.
        throttled: What slows the board down.
        power_mode: The board's power mode.
        memory_pressure: Percent of time in which some task waited for memory.
    """

    stages_ms: dict[str, float]
    clock_mhz: float | None = None
    others: float | None = None
    throttled: tuple[str, ...] = ()
    power_mode: str = ""
    memory_pressure: float | None = None


class PaceJudge:
    """Takes looks at one model in one setting, and says how they compare with its past.

    Args:
        past: Stretches of its past, oldest first.

    Attributes:
        report: How it stands.
        past: With what was added.
    """

    def __init__(self, past: Sequence[Look] = ()) -> None:
        self.past: deque[Look] = deque(past, maxlen=KEPT)
        self._recent: deque[Look] = deque(maxlen=LOOKS)
        self._stretch: list[Look] = []
        self._streak = 0
        self.report = PaceReport(state=USUAL if past else LEARNING)

    @property
    def newest(self) -> Look | None:
        """The newest stretch of the past."""
        return self.past[-1] if self.past else None

    def take(self, look: Look) -> bool:
        """Take a look; return whether it is news: slowness that began, ended, or has another stage or cause."""
        self._recent.append(look)
        before = self.report
        if not self.past:
            self._learn(look)
        elif len(self._recent) == LOOKS:
            self._judge(summary(self._recent), summary(self.past), look)
        now = self.report
        known, found = ((one.state == SLOWER, one.stage, one.cause) for one in (before, now))
        return known != found

    def _learn(self, look: Look) -> None:
        self._stretch.append(look)
        if len(self._stretch) >= (LATER if self.past else FIRST):
            self.past.append(summary(self._stretch))
            self._stretch.clear()
            if self.report.state == LEARNING:
                self.report = PaceReport(state=USUAL)

    def _judge(self, now: Look, usual: Look, look: Look) -> None:
        before, is_slow = self.report, self.report.state == SLOWER
        _, times = slowest(look.stages_ms, usual.stages_ms)
        lasting = min(times, slowest(now.stages_ms, usual.stages_ms)[1])
        differs = times < _RELIEF if is_slow else lasting >= SLOW
        self._streak = self._streak + 1 if differs else 0
        if self._streak >= LOOKS:
            is_slow, self._streak = not is_slow, 0
        if not is_slow and times < _RELIEF:
            self._learn(look)
        report = PaceReport(
            state=SLOWER if is_slow else USUAL, found_ms=now.stages_ms, usual_ms=usual.stages_ms
        )
        self.report = _explained(report, before, now, usual) if is_slow else report


def summary(looks: Sequence[Look]) -> Look:
    """Return the medians of looks, at least one; flags that at least half of them have, and the commonest mode."""
    flags = Counter(flag for look in looks for flag in look.throttled)
    return Look(
        stages_ms=medians(look.stages_ms for look in looks),
        clock_mhz=_median(look.clock_mhz for look in looks),
        others=_median(look.others for look in looks),
        throttled=tuple(flag for flag, count in flags.items() if 2 * count >= len(looks)),
        power_mode=Counter(look.power_mode for look in looks).most_common(1)[0][0],
        memory_pressure=_median(look.memory_pressure for look in looks),
    )


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(statistics.median(known), 3) if known else None


def _explained(report: PaceReport, before: PaceReport, now: Look, usual: Look) -> PaceReport:
    """Return the report with stage and cause; those named before stay while they hold."""
    found, past = report.found_ms, report.usual_ms
    worst, times = slowest(found, past)
    if not times:  # on its way out: what was said holds until it is over
        return msgspec.structs.replace(
            report, stage=before.stage, cause=before.cause, reason=before.reason
        )
    holds = ratio(found.get(before.stage, 0.0), past.get(before.stage, 0.0)) >= _RELIEF
    stage = before.stage if holds else worst
    reasons = {cause: reason for cause, tell in _CAUSES if (reason := tell(now, usual))}
    reasons["stage"] = f"nothing else that is measured has changed; {_THREADS[stage]}"
    cause = before.cause if holds and before.cause in reasons else next(iter(reasons))
    times = found[stage] / past[stage]
    what = f"{stage} {found[stage]:.1f} ms, {times:.1f} times the {past[stage]:.1f} ms of this device's past"
    return msgspec.structs.replace(
        report, stage=stage, cause=cause, reason=f"{what}: {reasons[cause]}"
    )


def _by_throttling(now: Look, usual: Look) -> str:
    fresh = [flag for flag in now.throttled if flag not in usual.throttled]
    return f"the board slows itself down: {', '.join(fresh)}" if fresh else ""


def _by_power_mode(now: Look, usual: Look) -> str:
    if now.power_mode == usual.power_mode:
        return ""
    return f"power mode {now.power_mode or 'unknown'}, usually {usual.power_mode or 'unknown'}"


def _by_clock(now: Look, usual: Look) -> str:
    here, past = now.clock_mhz, usual.clock_mhz
    if here is None or past is None or here >= _CLOCK * past:
        return ""
    return f"a core runs at {here:.0f} MHz, usually at {past:.0f}"


def _by_memory(now: Look, usual: Look) -> str:
    here, past = now.memory_pressure or 0.0, usual.memory_pressure or 0.0
    if here - past < _MEMORY:
        return ""
    return f"tasks wait for memory in {here:.0f} % of the time, usually {past:.0f} %"


def _by_other_work(now: Look, usual: Look) -> str:
    if now.others is None or usual.others is None or now.others - usual.others < _CORES:
        return ""
    return f"other processes use {now.others:.1f} cores, usually {usual.others:.1f}"


# What slows everything comes first; the clock falls by the two before it, too.
_CAUSES: tuple[tuple[str, Callable[[Look, Look], str]], ...] = (
    ("throttled", _by_throttling),
    ("power mode", _by_power_mode),
    ("clock", _by_clock),
    ("memory", _by_memory),
    ("other work", _by_other_work),
)
