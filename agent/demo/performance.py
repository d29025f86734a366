"""The demonstration from curtain to curtain: fleet, device, story, screen, facts."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typing_extensions import Self

from agent import __version__
from agent.demo.device import DemoDevice
from agent.demo.fleet import DemoFleet
from agent.demo.screen import DemoView, settled
from agent.demo.story import Story
from agent.demo.tally import Tally
from agent.host.disk import REAL_DISK
from agent.schema.messages import Phase, State, Telemetry

DEVICE = "demo-1"


@dataclass(frozen=True)
class Ending:
    """How the demonstration went: `exit_status` is 0 when every chapter ended as it must."""

    exit_status: int
    facts: dict[str, Any]


class Performance:
    """Use it as a context manager: everything is started on entry and stopped on exit.

    Args:
        folder: A new folder that everything lives in.
        console_port: Port of the device's page; 0 for any free one.
    """

    def __init__(self, folder: Path, console_port: int = 0) -> None:
        self._began_s = time.monotonic()
        self.tally = Tally()
        self.fleet = DemoFleet(folder / "fleet")
        self.fleet.controller.inbox.observe(self.tally.observe)
        self.device = DemoDevice(DEVICE, folder / DEVICE, self.fleet, console_port)
        self.story = Story(self.fleet, self.device)
        self._moving: DemoView | None = None
        self.last_view = self.view()
        self._problem = ""

    def __enter__(self) -> Self:
        """Start fleet, device and story."""
        self.fleet.start()
        try:
            self.device.start()
        except BaseException:
            self.fleet.stop()
            raise
        self.story.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop everything, last first."""
        self.story.stop()
        self.device.stop()
        self.fleet.stop()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began_s

    @property
    def problem(self) -> str:
        """Why it cannot go on; empty while it can."""
        if self.device.pid == 0:
            return "the agent ended: " + " ".join(self.device.last_lines(1))
        return self.story.problem

    def view(self) -> DemoView:
        """Return what the screen shows now."""
        inbox = self.fleet.controller.inbox
        state: State | None = inbox.state(self.device.name)
        telemetry: Telemetry | None = inbox.telemetry(self.device.name)
        view = DemoView(
            elapsed_s=self.elapsed_s,
            device=self.device.name,
            console_url=self.device.console_url,
            chapters=self.story.chapters,
            fps=telemetry.fps if telemetry else 0.0,
            stages=telemetry.stages if telemetry else None,
            release=(state.release or "") if state else "",
            variant=(state.variant or "") if state else "",
            phase=state.phase if state else Phase.IDLE,
            progress=state.progress if state else None,
            control_pss_mb=telemetry.control_pss_mb if telemetry else 0.0,
            worker_pss_mb=telemetry.worker_pss_mb if telemetry else 0.0,
            detections=self.tally.boxes,
            log=self.device.last_lines(6),
        )
        if view.stages:
            self._moving = view
        return view

    def curtain(self) -> None:
        """Note how things stand; what comes after is only tidying up."""
        self.last_view = settled(self.view(), self._moving)
        self._problem = self.problem

    def ending(self) -> Ending:
        """Return how it went until `curtain`."""
        facts = {
            "vigil": __version__,
            "seconds": round(self.last_view.elapsed_s, 1),
            "as_expected": self.story.is_as_expected,
            "problem": self._problem,
            "releases": self.story.facts(),
            **self.tally.facts(),
        }
        return Ending(0 if self.story.is_as_expected else 1, facts)


def write_facts(path: Path, facts: dict[str, Any]) -> None:
    """Write the facts as JSON, whole or not at all.

    Raises:
        StorageError: The file cannot be written.
    """
    REAL_DISK.write_atomic(path, json.dumps(facts, indent=2).encode() + b"\n", 0o644)
