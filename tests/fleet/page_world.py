"""A fleet for its page: one device is well, one hostile, one goes, three are alike, many never spoke, one was put out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agent.fleet.authority import FleetAuthority
from agent.fleet.registry import DeviceRecord, Registry
from agent.fleet.rollout_rules import Standing
from agent.fleet.rollout_store import Rollout, RolloutStore
from agent.fleet.rollout_tally import Step
from agent.schema.messages import Phase, StageMs, State, Telemetry
from agent.schema.shadow import ShadowProgress, ShadowState
from tests.console.scripted import report, telemetry
from tests.fleet.conftest import Fleet
from tests.fleet.rollout_world import PATH, PLAN, SHA256, START_MS, WAVES

SILENT = 70
DEVICES = SILENT + 7
ALIKE_MS = {"pi-1": 21.0, "pi-2": 22.0, "pi-3": 43.0}  # infer
EVIL = "<img src=/x onerror=window.hit=1>"

# What a person finds on each part of the page.
SLOW = "infer 43 ms, 2.0 times the median of 3 alike"
FACTS = {
    "overview": (
        f"{DEVICES} devices",
        "88.5 °C",
        "people 2.0",
        "north",
        "people 3.0 int8",
        "94.3 % agree",
        "1 of 2 devices still compare · 1400 of 2000 frames",
    ),
    "devices": ("page 1 of 2", "cam-1", "49.8", "61.5", EVIL),
    "rollouts": ("people-2", "wave 1, 25 %", "1 have it", "3 waiting", "soaks"),
    "device/cam-1": ("people 2.0", "committed", "wave 1"),
    "devices/slow": ("1 device", "pi-3", SLOW),
    "devices/comparing": ("2 devices", "pi-1"),
    "device/pi-1": ("400 of 1000 frames · about 80 min left", "90.0 % agree", "person"),
    "device/pi-2": ("1000 of 1000 frames · ended: frames", "96.0 % agree"),
    "device/pi-3": (SLOW,),
    "device/cam-2": (f"{EVIL}: {EVIL}", "1.0e+300 fps"),
}


def enrolled(folder: Path) -> Fleet:
    """Return the fleet with all its devices."""
    registry = Registry(folder / "fleet.db")
    fleet = Fleet(folder, FleetAuthority.create(folder), registry, folder)
    for name, group in (("cam-1", "north"), ("cam-2", "south"), ("cam-3", "north")):
        fleet.register(name, "gate", group)
    for name in ALIKE_MS:
        fleet.register(name)
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


def beside(**changes: Any) -> ShadowProgress:
    """Return a shadow run that is under way."""
    facts: dict[str, Any] = {
        "state": ShadowState.RUNNING,
        "candidate": "shop/people/3.0",
        "variant": "int8",
        "frames": 400,
        "of_frames": 1000,
    }
    return ShadowProgress(**(facts | changes))


def messages() -> list[tuple[State, Telemetry]]:
    """Return what the devices say; the last one is the one that goes."""
    well = State(v=1, device="cam-1", online=True, release="people 2.0", agent="1.0.0")
    words: dict[str, Any] = dict.fromkeys(
        ("release", "variant", "profile", "problem", "agent", "rung"), EVIL
    )
    strange = beside(candidate=EVIL, classes={EVIL: 0.5}, skipped={EVIL: 1})
    hostile = State(v=1, device="cam-2", online=True, drifted={EVIL: EVIL}, **words)
    camera = report(EVIL, problem=EVIL, fps=1e300)
    goes = State(v=1, device="cam-3", online=True, release="people 1.0", phase=Phase.PROBATION)
    return [
        (well, telemetry(device="cam-1")),
        (hostile, telemetry(device="cam-2", temperature_c=88.5, cameras=[camera], shadow=strange)),
        *alike(),
        (goes, telemetry(device="cam-3")),
    ]


def alike() -> list[tuple[State, Telemetry]]:
    """Return what three devices of one kind say: the last is slow; the first two judge a candidate."""
    runs = {
        "pi-1": beside(agreement=0.9, classes={"person": 0.9}, left_s=4800),
        "pi-2": beside(agreement=0.96, state=ShadowState.ENDED, end="frames", frames=1000),
        "pi-3": None,
    }
    facts: dict[str, Any] = {
        "online": True,
        "release": "people 2.0",
        "variant": "int8",
        "profile": "pi-5",
    }
    return [
        (
            State(v=1, device=name, **facts),
            telemetry(
                device=name,
                stages={"infer": StageMs(p50=ms, p95=ms, p99=ms)},
                temperature_c=45.0,
                shadow=runs[name],
            ),
        )
        for name, ms in ALIKE_MS.items()
    ]
