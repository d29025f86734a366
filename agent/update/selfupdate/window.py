"""Whether a new version of the agent does its work: pure. Health must hold for a while, within a deadline."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Vitals:
    """What is seen at one instant.

    Attributes:
        connected: Whether the broker is connected.
        expects_frames: Whether there are cameras and a model.
        frames: Frames processed lately; `errors` of them failed.
    """

    connected: bool
    expects_frames: bool
    frames: int = 0
    errors: int = 0

    @property
    def fault(self) -> str:
        """Return what is not as it should be, empty when all is."""
        if not self.connected:
            return "the broker is not connected"
        if self.expects_frames and not self.frames:
            return "no frames are processed"
        if self.errors > self.frames:
            return "most inferences fail"
        return ""


class Verdict(enum.Enum):
    """What to do with the candidate."""

    WAIT = "wait"
    KEEP = "keep"
    GIVE_UP = "give up"


@dataclass(frozen=True)
class Window:
    """The observation so far, seconds.

    Attributes:
        health_s: How long all must have been well without a break.
        deadline_s: When it is given up.
        well_s: How long all has been well.
        fault: What was wrong last.
    """

    health_s: float
    deadline_s: float
    age_s: float = 0.0
    well_s: float = 0.0
    fault: str = ""

    def after(self, vitals: Vitals, step_s: float) -> Window:
        """Return the window `step_s` seconds later."""
        well_s = 0.0 if vitals.fault else self.well_s + step_s
        fault = vitals.fault or self.fault
        return replace(self, age_s=self.age_s + step_s, well_s=well_s, fault=fault)

    @property
    def verdict(self) -> Verdict:
        """Say what to do now."""
        if self.well_s >= self.health_s:
            return Verdict.KEEP
        return Verdict.GIVE_UP if self.age_s >= self.deadline_s else Verdict.WAIT
