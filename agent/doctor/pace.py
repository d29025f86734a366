"""Whether frames take longer than they did on this device, or than on others like it: pure."""

from __future__ import annotations

from collections.abc import Iterator

from agent.doctor.findings import good, unseen, warning
from agent.schema.doctor import Finding
from agent.schema.messages import State, Telemetry
from agent.schema.pace import SLOW, FleetPaces, beside, slowest

_WHY = "fewer frames are processed, and events come later"
_FIXES = {
    "throttled": "see the findings on power; cool it, or give it a stronger supply",
    "power mode": "set the usual mode again: sudo nvpmodel -q; sudo nvpmodel -m NUMBER",
    "clock": "sudo cpupower frequency-set -g performance; see the findings on power",
    "memory": "see who needs it: ps -eo pid,rss,comm --sort=-rss | head",
    "other work": "see who works: ps -eo pid,pcpu,comm --sort=-pcpu | head",
}
_EXPLAIN = "measure it while the agent is stopped: vigil bench --installed CONFIG --explain"


def judge_pace(state: State, measured: Telemetry) -> Iterator[Finding]:
    """Judge what the agent says of its own past."""
    report = measured.pace
    if report is None or report.state == "learning":
        return
    if state.slow:
        fix = _FIXES.get(report.cause, _EXPLAIN)
        yield warning("agent.pace", "agent.slow", state.slow, _WHY, fix)
    else:
        yield good("agent.pace", "no stage takes longer than in this device's past")


def judge_beside(state: State, measured: Telemetry, fleet: FleetPaces) -> Iterator[Finding]:
    """Judge by what the fleet's controller wrote of devices that are alike."""
    kind = (state.profile, state.release, state.variant)
    alike = (one for one in fleet.paces if (one.profile, one.release, one.variant) == kind)
    found = next(alike, None)
    if found is None:
        yield unseen("agent.fleet", f"the fleet's file knows no devices like this one: {kind}")
        return
    stages_ms = {name: stage.p50 for name, stage in measured.stages.items()}
    what = beside(stages_ms, found)
    if slowest(stages_ms, found.stages_ms)[1] >= SLOW:
        yield warning("agent.fleet", "agent.slower_than_alike", what, _WHY, _EXPLAIN)
    else:
        yield good("agent.fleet", what)
