"""What the governor needs from the outside: whoever runs the model, and how quick its results are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from agent.models.store import InstalledRelease


@dataclass(frozen=True)
class Setting:
    """What serves: a release with the variant that runs, and the frame-rate cap of every camera, 0 for none."""

    release: InstalledRelease
    max_fps: float


class Throttle(Protocol):
    """Whoever runs the model: the supervisor."""

    @property
    def setting(self) -> Setting | None:
        """Return what serves now; None when nothing does."""

    def set_rate(self, max_fps: float) -> None:
        """Cap the frame rate of every camera; 0 lets it go.

        Raises:
            ModelError: Nothing serves, or the worker does not answer.
        """

    def switch(self, release: InstalledRelease, max_fps: float) -> None:
        """Serve with another variant of the serving release, without a gap where memory allows it.

        Raises:
            VigilError: It cannot be opened or loaded, its golden set fails, or another release serves by now; what
                served serves on.
        """


@dataclass(frozen=True)
class Speed:
    """How quick results were lately, 95th percentiles in milliseconds.

    Attributes:
        frames: How many the figures are of.
        p95_ms: From capture to result.
        work_ms: The same without the wait for its turn.
        queue_ms: Age of a frame when its turn came.
    """

    frames: int
    p95_ms: float
    work_ms: float
    queue_ms: float
