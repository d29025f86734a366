"""What `settings.json` in the state folder holds: changes of the configuration, kept and on trial."""

from __future__ import annotations

from typing import Any

from agent.schema.values import Counter, Struct

SETTINGS_SCHEMA = 1


class Needs(Struct):
    """What the agent must reach with a change, and within how many seconds, for the change to be kept.

    Attributes:
        link: The connection to the broker.
        pipeline: A worker that serves the model.
        cameras: Cameras that must give pictures.
        within_s: Time from the agent's start, seconds.
    """

    link: bool = False
    pipeline: bool = False
    cameras: list[str] = []
    within_s: float = 90.0


class Trial(Struct):
    """A change that is being tried: all that would differ from the operator's file, as a patch.

    `command` and `cmd` are of the command that asked, empty where none did; `tries` counts starts.
    """

    changes: dict[str, Any]
    command: str = ""
    cmd: str = ""
    needs: Needs = Needs()
    tries: Counter = 0
    since_ms: Counter = 0


class Verdict(Struct):
    """How a change ended: kept, or undone for `reason`."""

    command: str
    cmd: str
    kept: bool
    code: str = ""
    reason: str = ""
    at_ms: Counter = 0


class SettingsRecord(Struct):
    """The file: what is kept differs from the operator's file by this patch."""

    schema: int
    kept: dict[str, Any] = {}
    trial: Trial | None = None
    last: Verdict | None = None
