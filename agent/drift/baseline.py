"""From the figures of many frames to a baseline, and which part of a baseline a frame is judged by. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agent.drift.distance import quantiles, shares_of
from agent.schema.drift import QUANTILES, FrameFigures, PeriodBaseline

OF_PICTURES = ("brightness", "contrast", "sharpness", "noise", "red", "blue", "dark", "bright")
OF_RESULTS = ("objects", "scores", "sizes", "doubts")
# Less says nothing of how figures are spread.
LEAST_FRAMES = 20


def spread_of(frames: Sequence[FrameFigures]) -> PeriodBaseline:
    """Return how the figures of frames, at least one, are spread."""
    values = {figure: values_of(frames, figure) for figure in (*OF_PICTURES, *OF_RESULTS)}
    labels = [label for frame in frames for label in frame.labels]
    return PeriodBaseline(
        frames=len(frames),
        figures={name: quantiles(found, QUANTILES) for name, found in values.items() if found},
        classes=_by_class(labels),
    )


def _by_class(labels: Sequence[int]) -> list[float]:
    shares = shares_of(labels)
    return [round(shares.get(label, 0.0), 5) for label in range(max(shares, default=-1) + 1)]


def learn(frames: Sequence[FrameFigures], night_below: float) -> dict[str, PeriodBaseline]:
    """Return baselines of day and night, each as far as there are frames enough."""
    parted: dict[str, list[FrameFigures]] = {"day": [], "night": []}
    for frame in frames:
        parted[_period(frame, night_below)].append(frame)
    return {name: spread_of(some) for name, some in parted.items() if len(some) >= LEAST_FRAMES}


def values_of(frames: Sequence[FrameFigures], figure: str) -> list[float]:
    """Return all values of a figure: one a frame, or one an object for scores and sizes."""
    if figure == "objects":
        return [float(len(frame.scores)) for frame in frames]
    if figure in {"scores", "sizes"}:
        return [value for frame in frames for value in getattr(frame, figure)]
    return [getattr(frame, figure) for frame in frames]


def period_for(
    frame: FrameFigures, periods: Mapping[str, PeriodBaseline], night_below: float
) -> str:
    """Return by which period a frame is judged: its own, or the only one that there is."""
    own = _period(frame, night_below)
    return own if own in periods else next(iter(periods))


def _period(frame: FrameFigures, night_below: float) -> str:
    return "night" if frame.brightness < night_below else "day"
