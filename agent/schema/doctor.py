"""What `vigil doctor` finds, and what its camera probe reports: stable documents for people and programs."""

from __future__ import annotations

import enum

from agent.schema.values import Struct

DOCTOR_SCHEMA = 1


class Level(str, enum.Enum):
    """How bad a finding is; `unseen` is something that could not be examined, and says why."""

    OK = "ok"
    UNSEEN = "unseen"
    WARNING = "warning"
    PROBLEM = "problem"


class Finding(Struct):
    """One thing that was examined.

    Attributes:
        check: What was examined, for example `broker.tls` or `camera.gate`.
        code: Stable name of what was found, for example `broker.expired`; `ok` where nothing is wrong.
        what: What is so, with the figures.
        why: Why it matters; empty where nothing is wrong.
        fix: What puts it right, as a command where there is one; empty where nothing is wrong.
    """

    check: str
    level: Level
    code: str
    what: str
    why: str = ""
    fix: str = ""


class DoctorReport(Struct):
    """All findings of one examination; `verdict` is the worst level among them."""

    schema: int
    device: str
    agent: str
    at_ms: int
    verdict: Level
    findings: list[Finding]


class CameraLook(Struct):
    """What opening a camera once gave.

    Attributes:
        frames: Pictures that came, the size of the last one, and its age when it was judged.
        brightness: Mean grey value of the last picture, 0 to 255; `contrast` is its standard deviation.
        same: Whether all pictures were the same, byte for byte.
        code: Code of the error that ended it, with message and hint; empty without one.
    """

    frames: int = 0
    width: int = 0
    height: int = 0
    brightness: float = 0.0
    contrast: float = 0.0
    same: bool = False
    age_ms: float = 0.0
    code: str = ""
    message: str = ""
    hint: str = ""
