"""The mailbox between capture and inference: the newest frame of each camera wins, cameras take turns."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")


@dataclass(frozen=True)
class Taken(Generic[T]):
    """A camera's frame, and how many were taken before it."""

    number: int
    camera: str
    frame: T


class Mailbox(Generic[T]):
    """One slot for each camera; a new frame replaces an unread one."""

    def __init__(self, cameras: Sequence[str]) -> None:
        self._turns = deque(cameras)
        self._slots: dict[str, T] = {}
        self._every_ns = 0
        self._due_ns = dict.fromkeys(cameras, 0)
        self._count = 0
        self._closed = False
        lock = threading.Lock()
        self._arrived = threading.Condition(lock)
        self._taken = threading.Condition(lock)

    def limit(self, max_fps: float) -> None:
        """Admit at most `max_fps` frames a second of each camera; 0 admits all."""
        self._every_ns = int(1e9 / max_fps) if max_fps > 0 else 0

    def admits(self, camera: str, captured_ns: int) -> bool:
        """Say whether a camera's frame is within the rate, and count on it to be put.

        The rate is kept on average: a frame may be a little early, the next is due no sooner for it.
        """
        every_ns, due_ns = self._every_ns, self._due_ns[camera]
        if captured_ns < due_ns - every_ns // 4:
            return False
        self._due_ns[camera] = max(due_ns + every_ns, captured_ns)
        return True

    def put(self, camera: str, frame: T) -> bool:
        """Leave a frame; return True when it replaced one that nobody took."""
        with self._arrived:
            replaced = camera in self._slots
            self._slots[camera] = frame
            self._arrived.notify()
        return replaced

    def take(self, timeout_s: float) -> Taken[T] | None:
        """Return a frame of the camera that waited longest for its turn; None when none arrived in time."""
        with self._arrived:
            self._arrived.wait_for(lambda: self._slots or self._closed, timeout_s)
            if not self._slots:
                return None
            camera = next(name for name in self._turns if name in self._slots)
            self._turns.remove(camera)
            self._turns.append(camera)
            self._taken.notify_all()
            number, self._count = self._count, self._count + 1
            return Taken(number, camera, self._slots.pop(camera))

    def close(self) -> None:
        """Wait for frames no longer: `take` returns at once from now on."""
        with self._arrived:
            self._closed = True
            self._arrived.notify_all()

    def wait_taken(self, camera: str, timeout_s: float) -> bool:
        """Wait until a camera's last frame was taken; return False when it was not in time."""
        with self._taken:
            return self._taken.wait_for(lambda: camera not in self._slots, timeout_s)
