"""What the console reads from the rest of the agent, and the bounded memory of recent things.

`agent.app` fills a `Sources` with callables. They are called from the console's own threads, only while
somebody watches, and at most once per interval however many people do.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from agent.schema.config import CameraConfig
from agent.schema.doctor import DoctorReport
from agent.schema.events import EventRecord
from agent.schema.ipc import FrameGrabbed
from agent.schema.settings import Verdict
from agent.schema.shadow import ShadowView
from agent.schema.snapshot import Snapshot

T = TypeVar("T")
Grab = Callable[[str, int, int], tuple[FrameGrabbed, bytes]]
"""`grab(camera, max_width, quality)`: the newest frame with its boxes, and its JPEG.

`max_width` in pixels, `quality` 1 to 100. Raises `VigilError` (camera gone, worker gone) with a reason.
The boxes are in pixels of a picture of `width` x `height`, whatever the JPEG's own size is.
"""


class Archive(Protocol):
    """The device's kept events; every method may raise `StorageError`, and blocks on the disk."""

    def recent(
        self,
        limit: int = 50,
        camera: str | None = None,
        label: str | None = None,
        before_ms: int | None = None,
    ) -> list[EventRecord]:
        """Return the newest events first, those that began before `before_ms` (Unix milliseconds)."""
        ...

    def event(self, event: str) -> EventRecord | None:
        """Return one event by its id."""
        ...

    def snapshot(self, event: str) -> bytes | None:
        """Return an event's best picture (JPEG); None when it is not kept."""
        ...

    def thumbnail(self, event: str) -> bytes | None:
        """Return an event's square thumbnail (JPEG); None when it is not kept."""
        ...

    def clip(self, event: str) -> bytes | None:
        """Return an event's clip (AVI of JPEGs, see `agent.schema.avi`); None when it is not kept."""
        ...


class Comparison(Protocol):
    """What a shadow run found; both block on the disk."""

    def view(self) -> ShadowView | None:
        """Return the newest run; None before the first."""
        ...

    def picture(self, file: str) -> bytes | None:
        """Return one of its pictures (JPEG) by its name in the report; None when it is not kept."""
        ...


class Settings(Protocol):
    """How the console changes the configuration; called from its threads."""

    @property
    def on_trial(self) -> bool:
        """Whether a change is being tried."""
        ...

    @property
    def last(self) -> Verdict | None:
        """How the last change ended."""
        ...

    def propose(self, changes: Mapping[str, object]) -> bool:
        """Put a change on trial; return whether anything changes.

        Raises:
            ConfigError: The result would be no configuration.
            CommandError: Something else is under way.
            StorageError: It cannot be written.
        """
        ...


@dataclass(frozen=True)
class Sources:
    """Where the console gets everything, and where the one thing that it changes goes.

    Attributes:
        cameras: As configured, by name.
        status: The agent as it is now.
        grab: The newest picture of a camera.
        archive: Kept events.
        settings: Takes changes of zones, lines and masks; None where nothing can be changed.
        doctor: Examines the device, which takes seconds to minutes.
        shadow: A candidate model beside the running one.
    """

    cameras: Mapping[str, CameraConfig]
    status: Callable[[], Snapshot]
    grab: Grab
    archive: Archive | None = None
    settings: Settings | None = None
    doctor: Callable[[], DoctorReport] | None = None
    shadow: Comparison | None = None


class Recent(Generic[T]):
    """The last `size` values, numbered from 1; any thread may add and read."""

    def __init__(self, size: int) -> None:
        self._values: deque[T] = deque(maxlen=size)
        self._count = 0
        self._lock = threading.Lock()

    def add(self, value: T) -> None:
        """Remember `value`, forgetting the oldest when full."""
        with self._lock:
            self._values.append(value)
            self._count += 1

    def since(self, number: int) -> tuple[int, list[T]]:
        """Return the newest value's number and the values after `number` that are still remembered.

        A `number` from the future (a reader that outlived this process) gives everything.
        """
        with self._lock:
            missed = self._count - number if number <= self._count else self._count
            values = list(self._values)
            return self._count, values[-missed:] if missed > 0 else []
