"""Stage times of many frames in three numbers each."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from agent.schema.messages import StageMs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


def stage_percentiles(frames: Iterable[Mapping[str, float]]) -> dict[str, StageMs]:
    """Return p50, p95 and p99 of every stage over frames, each given as milliseconds by stage."""
    by_stage: dict[str, list[float]] = defaultdict(list)
    for frame in frames:
        for stage, ms in frame.items():
            by_stage[stage].append(ms)
    return {stage: percentiles(values) for stage, values in by_stage.items()}


def percentiles(values_ms: Sequence[float]) -> StageMs:
    """Return p50, p95 and p99 of at least one value, rounded to microseconds."""
    ordered = sorted(values_ms)
    p50, p95, p99 = (
        round(ordered[round(share * (len(ordered) - 1))], 3) for share in (0.5, 0.95, 0.99)
    )
    return StageMs(p50=p50, p95=p95, p99=p99)
