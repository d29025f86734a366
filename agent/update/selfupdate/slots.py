"""The two environments as the agent sees them: which one runs, which one is free, what is on trial.

The state is the launcher's (`launcher.py`, whose functions read and write it); each change here is one atomic write.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.host.clock import wall_ms
from agent.host.disk import REAL_DISK, Disk
from agent.update.selfupdate import launcher
from agent.update.selfupdate.launcher import SLOTS, State

COMMITTED, ROLLED_BACK = "committed", "rolled_back"


@dataclass(frozen=True)
class Slots:
    """An installation with two environments.

    Attributes:
        prefix: Has `launch`, `a/`, `b/` and `state/`.
        running: The environment of this process.
    """

    prefix: Path
    running: str
    disk: Disk = REAL_DISK

    @property
    def path(self) -> Path:
        """Return where the state lies."""
        return self.prefix / "state" / "slots.json"

    @property
    def launcher(self) -> Path:
        """Return the program that starts the agent."""
        return self.prefix / "launch"

    @property
    def spare(self) -> str:
        """Return the environment that a new version goes to."""
        return SLOTS[1 - SLOTS.index(self.running)]

    def read(self) -> State:
        """Return the state; that of a first start where there is none."""
        if not self.disk.exists(self.path):
            return dict(launcher.FRESH)
        return launcher.load(self.disk, self.path)

    @property
    def on_trial(self) -> bool:
        """Whether this process is a candidate that was not kept yet."""
        candidate = self.read()["candidate"]
        return bool(candidate) and candidate["slot"] == self.running

    def clear(self) -> None:
        """Forget a candidate before its environment is written to."""
        state = self.read()
        if state["candidate"]:
            self._write({**state, "candidate": None})

    def stage(self, version: str, command_id: str, limits: Mapping[str, float]) -> None:
        """Let the launcher start the spare environment next."""
        candidate = {
            "slot": self.spare,
            "version": version,
            "tries": 0,
            "command_id": command_id,
            "limits": dict(limits),
            "staged_ms": wall_ms(),
        }
        self._write({**self.read(), "current": self.running, "candidate": candidate})

    def keep(self) -> dict[str, Any]:
        """Make the running candidate the version in use; return what it was."""
        state = self.read()
        gone: dict[str, Any] = state["candidate"]
        bad = {version: why for version, why in state["bad"].items() if version != gone["version"]}
        last = {**gone, "outcome": COMMITTED, "reason": "", "told": False}
        kept = {"current": self.running, "version": gone["version"], "candidate": None}
        self._write({**state, **kept, "last": last, "bad": bad})
        return last

    def give_up(self, reason: str) -> None:
        """Let the launcher start the version before."""
        self._write(launcher.rolled_back(self.read(), reason))

    def untold(self) -> dict[str, Any] | None:
        """Return how the last update ended if its sender was not told yet."""
        last: dict[str, Any] | None = self.read()["last"]
        return last if last and not last["told"] else None

    def told(self) -> None:
        """Remember that the sender was told."""
        state = self.read()
        self._write({**state, "last": {**state["last"], "told": True}})

    def _write(self, state: State) -> None:
        launcher.save(self.disk, self.path, state)


def own_slots(environment: Mapping[str, str], disk: Disk = REAL_DISK) -> Slots | None:
    """Return the installation that this process was started from by the launcher; None without one."""
    prefix, slot = environment.get("VIGIL_PREFIX", ""), environment.get("VIGIL_SLOT", "")
    return Slots(Path(prefix), slot, disk) if prefix and slot in SLOTS else None
