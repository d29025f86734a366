"""A fleet for its page: one device is well, one hostile, one goes, many never spoke, one was put out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agent.fleet.authority import FleetAuthority
from agent.fleet.registry import DeviceRecord, Registry
from agent.fleet.rollout_rules import Standing
from agent.fleet.rollout_store import Rollout, RolloutStore
from agent.fleet.rollout_tally import Step
from agent.schema.messages import Phase, State, Telemetry
from tests.console.scripted import report, telemetry
from tests.fleet.conftest import Fleet
from tests.fleet.rollout_world import PATH, PLAN, SHA256, START_MS, WAVES

SILENT = 70
EVIL = "<img src=/x onerror=window.hit=1>"


def enrolled(folder: Path) -> Fleet:
    """Return the fleet with all its devices."""
    registry = Registry(folder / "fleet.db")
    fleet = Fleet(folder, FleetAuthority.create(folder), registry, folder)
    for name, group in (("cam-1", "north"), ("cam-2", "south"), ("cam-3", "north")):
        fleet.register(name, "gate", group)
    for number in range(SILENT):
        registry.put_device(DeviceRecord(f"spare-{number:02}", "gate", (), b"", "0"))
    registry.put_device(DeviceRecord("lost-1", "gate", (), b"", "0", revoked=True))
    return fleet


def begun(path: Path) -> RolloutStore:
    """Return the store with one roll-out, whose first wave has the release."""
    store = RolloutStore(path)
    store.create(
        Rollout(PLAN.name, PLAN, PATH, SHA256, Standing.RUNNING, "soaks", START_MS), WAVES, {}
    )
    [row] = [row for row in store.devices(PLAN.name) if row.device == "cam-1"]
    assert store.claim(PLAN.name, row, START_MS, 0)
    assert store.note(row.command, "cam-1", Step.COMMITTED, START_MS)
    return store


def messages() -> list[tuple[State, Telemetry]]:
    """Return what the three devices say."""
    well = State(v=1, device="cam-1", online=True, release="people 2.0", agent="1.0.0")
    words: dict[str, Any] = dict.fromkeys(
        ("release", "variant", "profile", "problem", "agent", "rung"), EVIL
    )
    hostile = State(v=1, device="cam-2", online=True, drifted={EVIL: EVIL}, **words)
    camera = report(EVIL, problem=EVIL, fps=1e300)
    goes = State(v=1, device="cam-3", online=True, release="people 1.0", phase=Phase.PROBATION)
    return [
        (well, telemetry(device="cam-1")),
        (hostile, telemetry(device="cam-2", temperature_c=88.5, cameras=[camera])),
        (goes, telemetry(device="cam-3")),
    ]
