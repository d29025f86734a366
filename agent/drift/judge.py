"""One camera's judge: rolling windows of frame figures against the baseline, with hysteresis. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from agent.drift.baseline import OF_PICTURES, OF_RESULTS, period_for, values_of
from agent.drift.causes import Signs, cause_of
from agent.drift.distance import ks, median, outside, psi, psi_of_shares, shares_of
from agent.drift.view import SAME, View, compare, view_of
from agent.schema.drift import Change, DriftReport, FrameFigures, PeriodBaseline
from agent.schema.values import Struct

LEARNING, STEADY, DRIFTED = "learning", "steady", "drifted"

# How far outside of the baseline a figure may lie before it counts: absolute, and as a share of the usual one. A
# fixed camera varies less than any tolerance of practical interest.
_MARGINS = {
    "brightness": (12.0, 0.1),
    "contrast": (4.0, 0.15),
    "sharpness": (5.0, 0.3),
    "noise": (0.5, 0.3),
    "red": (0.06, 0.0),
    "blue": (0.06, 0.0),
    "dark": (0.1, 0.0),
    "bright": (0.05, 0.0),
    "objects": (0.5, 0.0),
    "scores": (0.1, 0.0),
    "sizes": (0.05, 0.3),
    "doubts": (0.5, 0.0),
}


@dataclass(frozen=True)
class Rules:
    """When a camera has drifted.

    Attributes:
        window: Frames of a window, one a second.
        step: New frames between two judgements.
        raise_after: Judgements in a row that must find drift before it is reported.
        clear_after: Judgements in a row that must find none before it is over.
        psi: Least population stability index of a figure that counts.
        ks: Least Kolmogorov-Smirnov distance.
        outside: Least share of the window outside of the baseline's range.
        relief: What the limits are multiplied with while drifted.
        objects: Least objects in a window to judge scores, sizes and classes by.
    """

    window: int = 60
    step: int = 20
    raise_after: int = 3
    clear_after: int = 3
    psi: float = 0.5
    ks: float = 0.4
    outside: float = 0.5
    relief: float = 0.7
    objects: int = 20


USUAL_RULES = Rules()
# Share of the baseline's objects under which a class is new to it.
_RARE = 0.02


class Memory(Struct):
    """What a judge must know to go on where it was: windows and views by period, and how it stands."""

    windows: dict[str, list[FrameFigures]]
    views: dict[str, View]
    streak: int
    votes: tuple[str, int]
    report: DriftReport


class Judge:
    """Takes a camera's figures and says how it stands.

    Args:
        camera: Its name.
        periods: The baseline of the variant that runs, at least one period.
        night_below: Brightness under which a frame is of the night.
        rules: When a camera has drifted.

    Raises:
        ValueError: There is no period.
    """

    def __init__(
        self,
        camera: str,
        periods: Mapping[str, PeriodBaseline],
        night_below: float,
        rules: Rules = USUAL_RULES,
    ) -> None:
        if not periods:
            raise ValueError("expected at least one period, found none")
        self._periods, self._night_below, self._rules = dict(periods), night_below, rules
        self._windows: dict[str, deque[FrameFigures]] = {
            name: deque(maxlen=rules.window) for name in periods
        }
        self._fresh = dict.fromkeys(periods, 0)
        self._views: dict[str, View] = {}
        self._streak = 0
        self._votes = ("", 0)
        self.report = DriftReport(name=camera, state=LEARNING)

    def memory(self) -> Memory:
        """Return what another judge of the same baseline goes on from."""
        return Memory(
            windows={name: list(window) for name, window in self._windows.items()},
            views=dict(self._views),
            streak=self._streak,
            votes=self._votes,
            report=self.report,
        )

    def recall(self, memory: Memory) -> None:
        """Go on where another judge of the same baseline was."""
        for name, window in self._windows.items():
            window.extend(memory.windows.get(name, []))
        self._views = dict(memory.views)
        self._streak, self._votes, self.report = memory.streak, memory.votes, memory.report

    def forget_view(self) -> None:
        """Learn anew what the camera usually looks at, from its next steady window: somebody moved it on purpose."""
        self._views.clear()
        for window in self._windows.values():
            window.clear()

    @property
    def views(self) -> int:
        """How many views have been learned: one for each period."""
        return len(self._views)

    def take(self, frame: FrameFigures) -> bool:
        """Take one frame's figures; return whether state or cause have changed by it."""
        period = period_for(frame, self._periods, self._night_below)
        window = self._windows[period]
        window.append(frame)
        self._fresh[period] += 1
        if len(window) < self._rules.window or self._fresh[period] < self._rules.step:
            return False
        self._fresh[period] = 0
        return self._judge(period, list(window))

    def _judge(self, period: str, frames: Sequence[FrameFigures]) -> bool:
        before = self.report
        signs = self._signs(period, frames)
        cause = cause_of(signs)
        self._streak = self._streak + 1 if bool(cause) != (before.state == DRIFTED) else 0
        state = self._next_state(before.state)
        if not cause and state != DRIFTED:
            self._views.setdefault(period, view_of(frames))
        self.report = DriftReport(
            name=before.name,
            state=state,
            cause=self._settled(cause, before.cause) if state == DRIFTED else "",
            period=period,
            judged=before.judged + 1,
            changes=sorted(signs.changes.values(), key=lambda change: -change.psi),
            found=_rounded(signs.found),
            usual=_rounded(signs.usual),
        )
        return (self.report.state, self.report.cause) != (before.state, before.cause)

    def _settled(self, cause: str, before: str) -> str:
        """Return the cause to name: another than before only when it was found several times in a row."""
        last, count = self._votes
        self._votes = (cause, count + 1 if cause == last else 1)
        lasts = cause and self._votes[1] >= self._rules.raise_after
        return cause if lasts or not before else before

    def _next_state(self, state: str) -> str:
        if state == DRIFTED:
            return STEADY if self._streak >= self._rules.clear_after else DRIFTED
        if self._streak >= self._rules.raise_after:
            return DRIFTED
        return STEADY

    def _signs(self, period: str, frames: Sequence[FrameFigures]) -> Signs:
        baseline = self._periods[period]
        known = self._views.get(period)
        return Signs(
            changes={one.figure: one for one in self._changes(baseline, frames)},
            view=compare(known, view_of(frames)) if known else SAME,
            usual={name: median(spread) for name, spread in baseline.figures.items()},
            found={name: median(sorted(values)) for name, values in _values(frames) if values},
        )

    def _changes(
        self, baseline: PeriodBaseline, frames: Sequence[FrameFigures]
    ) -> Iterator[Change]:
        for figure in (*OF_PICTURES, *OF_RESULTS):
            spread = baseline.figures.get(figure)
            values = sorted(values_of(frames, figure))
            least = self._rules.objects if figure in {"scores", "sizes"} else 1
            if spread is not None and len(values) >= least:
                yield from self._change(figure, spread, values)
        yield from self._new_classes(baseline, frames)

    def _change(
        self, figure: str, spread: Sequence[float], values: Sequence[float]
    ) -> Iterator[Change]:
        rules, factor, usual = self._rules, self._factor, median(spread)
        absolute, relative = _MARGINS[figure]
        margin = max(absolute, relative * abs(usual)) * factor
        # The cheapest first: most figures of most windows end here.
        if outside(spread, values, margin) < rules.outside * factor:
            return
        index, distance = psi(spread, values), ks(spread, values)
        if index >= rules.psi * factor and distance >= rules.ks * factor:
            yield _change(figure, usual, median(values), index, distance)

    def _new_classes(
        self, baseline: PeriodBaseline, frames: Sequence[FrameFigures]
    ) -> Iterator[Change]:
        labels = [label for frame in frames for label in frame.labels]
        if len(labels) < self._rules.objects or not baseline.classes:
            return
        usual, found = dict(enumerate(baseline.classes)), shares_of(labels)
        # A camera shows a part of what a model was made for: new is only what that hardly had.
        grown = sum(share for one, share in found.items() if usual.get(one, 0.0) < _RARE)
        index = psi_of_shares(usual, found)
        if index >= self._rules.psi * self._factor and grown >= self._rules.ks * self._factor:
            yield _change("classes", 0.0, grown, index, grown)

    @property
    def _factor(self) -> float:
        return self._rules.relief if self.report.state == DRIFTED else 1.0


def _values(frames: Sequence[FrameFigures]) -> Iterator[tuple[str, list[float]]]:
    return ((name, values_of(frames, name)) for name in (*OF_PICTURES, *OF_RESULTS))


def _rounded(figures: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in figures.items()}


def _change(figure: str, usual: float, found: float, index: float, distance: float) -> Change:
    return Change(
        figure=figure,
        usual=round(usual, 4),
        found=round(found, 4),
        psi=round(index, 3),
        ks=round(distance, 3),
    )
