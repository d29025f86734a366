"""How quick a device is, stage by stage: beside its own past, and beside others of the same board and model."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping

from agent.schema.values import Counter, Struct

STAGES = ("capture", "pre", "infer", "post", "publish")
"""The stages that are compared: `queue` is the others' sum seen from a frame that waits."""

SLOW = 1.5
_LEAST_MS = 2.0


class PaceReport(Struct):
    """How quick the stages are beside this device's own past with the same model.

    Attributes:
        state: `learning` before there is a past, `usual`, or `slow`.
        stage: Which one is slow; empty while none is.
        cause: What is responsible, in a word: `throttled`, `power mode`, `clock`, `memory`, `other work`, or `stage`.
        reason: The same as a sentence with its figures.
        found_ms: Median of each stage in the last minute.
        usual_ms: The same in the past.
    """

    state: str
    stage: str = ""
    cause: str = ""
    reason: str = ""
    found_ms: dict[str, float] = {}
    usual_ms: dict[str, float] = {}


class FleetPace(Struct):
    """The medians of devices that are alike: profile, release and variant.

    Attributes:
        devices: How many were measured.
        stages_ms: Median over them of each stage's median; of at least `agent.fleet.pace.LEAST_DEVICES` devices.
    """

    profile: str
    release: str
    variant: str
    devices: Counter
    stages_ms: dict[str, float]


class FleetPaces(Struct):
    """What `vigil fleet pace --json` writes, for `vigil bench --fleet` and `vigil doctor --fleet` on a device."""

    v: int
    at_ms: int
    paces: list[FleetPace]


PACE_VERSION = 1


def beside(found_ms: Mapping[str, float], fleet: FleetPace) -> str:
    """Return in words how a device's medians stand to those of its like."""
    stage, times = slowest(found_ms, fleet.stages_ms)
    alike = f"the median of {fleet.devices} alike in the fleet"
    if times >= SLOW:
        usual_ms = fleet.stages_ms[stage]
        return f"{stage} {found_ms[stage]:.1f} ms, {times:.1f} times {alike}, {usual_ms:.1f} ms"
    infer_ms = fleet.stages_ms.get("infer", 0.0)
    return f"no stage takes {SLOW} times {alike} (infer {infer_ms:.1f} ms)"


def ratio(found_ms: float, usual_ms: float) -> float:
    """Return how many times the usual a stage takes; 0 where that says nothing: nothing usual, or less than 2 ms more."""
    return found_ms / usual_ms if usual_ms > 0 and found_ms - usual_ms >= _LEAST_MS else 0.0


def slowest(found_ms: Mapping[str, float], usual_ms: Mapping[str, float]) -> tuple[str, float]:
    """Return the stage that takes the most times its usual, and how many; 0 where none says anything."""
    ratios = {stage: ratio(found_ms.get(stage, 0.0), usual_ms.get(stage, 0.0)) for stage in STAGES}
    worst = max(STAGES, key=lambda stage: ratios[stage])
    return worst, ratios[worst]


def medians(samples: Iterable[Mapping[str, float]], least: int = 1) -> dict[str, float]:
    """Return the median of each stage that at least `least` samples have."""
    values: dict[str, list[float]] = {stage: [] for stage in STAGES}
    for sample in samples:
        for stage in STAGES:
            if stage in sample:
                values[stage].append(sample[stage])
    return {
        stage: round(statistics.median(found), 3)
        for stage, found in values.items()
        if len(found) >= least
    }
