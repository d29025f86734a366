"""The last hour in figures: one point per measurement that is reported anyway, so that remembering costs nothing."""

from __future__ import annotations

from agent.schema.messages import Telemetry
from agent.schema.values import Struct

POINTS = 720


class Point(Struct):
    """One moment.

    Attributes:
        temperature_c: Hottest sensor, degrees Celsius; None where there is none.
        rung: Index of the governor's rung, 0 the best; None while nothing serves.
        rungs: How many there are.
        stages: Milliseconds per stage of a frame: p50 and p95.
        memory_mb: Control process and worker together (PSS).
        figures: Medians of each camera's newest window of frames, by camera and figure.
    """

    at_ms: int
    fps: float
    temperature_c: float | None
    rung: int | None
    rungs: int
    rung_name: str
    stages: dict[str, tuple[float, float]]
    memory_mb: float
    figures: dict[str, dict[str, float]]


def point_of(measured: Telemetry) -> Point:
    """Return what the charts need of one measurement."""
    governor = measured.governor
    return Point(
        at_ms=measured.at_ms,
        fps=measured.fps,
        temperature_c=measured.temperature_c,
        rung=governor.index if governor else None,
        rungs=governor.rungs if governor else 0,
        rung_name=governor.rung if governor else "",
        stages={name: (stage.p50, stage.p95) for name, stage in measured.stages.items()},
        figures={one.name: one.found for one in measured.drift},
        memory_mb=round(measured.control_pss_mb + measured.worker_pss_mb, 1),
    )
