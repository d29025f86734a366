"""Which devices are slower than others like them: medians over the same kind of board and the same model. Pure."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

LEAST_DEVICES = 3
SLOW = 1.5
_LEAST_MS = 2.0
_STAGES = ("decode", "pre", "infer", "post", "publish")


@dataclass(frozen=True)
class Pace:
    """One device's medians per stage, milliseconds, and whom it is comparable with: profile, release and variant."""

    device: str
    kind: tuple[str, str, str]
    stages_ms: Mapping[str, float]


def slower(paces: Iterable[Pace]) -> dict[str, str]:
    """Return by device the stage in which it is slowest beside its peers, as words; only devices that are slow.

    Slow is `SLOW` times the median of at least `LEAST_DEVICES` devices, itself among them, and 2 ms more.
    """
    kinds: dict[tuple[str, str, str], list[Pace]] = defaultdict(list)
    for pace in paces:
        kinds[pace.kind].append(pace)
    found = {}
    for peers in kinds.values():
        if len(peers) < LEAST_DEVICES:
            continue
        usual = {stage: _median(stage, peers) for stage in _STAGES}
        for pace in peers:
            worst = max(_STAGES, key=lambda stage: _ratio(pace, stage, usual[stage]))
            ratio = _ratio(pace, worst, usual[worst])
            if ratio >= SLOW:
                ms = pace.stages_ms[worst]
                found[pace.device] = (
                    f"{worst} {ms:.0f} ms, {ratio:.1f} times the median of {len(peers)} alike"
                )
    return found


def _median(stage: str, peers: Iterable[Pace]) -> float:
    known = [pace.stages_ms[stage] for pace in peers if stage in pace.stages_ms]
    return statistics.median(known) if len(known) >= LEAST_DEVICES else 0.0


def _ratio(pace: Pace, stage: str, usual_ms: float) -> float:
    """Return how many times the usual a stage takes; 0 where that says nothing."""
    ms = pace.stages_ms.get(stage, 0.0)
    return ms / usual_ms if usual_ms > 0 and ms - usual_ms >= _LEAST_MS else 0.0
