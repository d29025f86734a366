"""What is costly to make, kept for as long as it is fresh enough for who looks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

FRESH_S = 3.0
IDLE_FACTOR = 10

T = TypeVar("T")


class Kept(Generic[T]):
    """What `make` returned a moment ago; it runs once at a time, whoever asks, and a tenth of the time at most."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._kept: tuple[float, T] | None = None

    def newest(self) -> T:
        """Return it, made anew where it is older than `FRESH_S` and than ten times what making it took."""
        with self._lock:
            begun_s = time.monotonic()
            if self._kept is None or begun_s > self._kept[0]:
                made = self._make()
                took_s = time.monotonic() - begun_s
                self._kept = (time.monotonic() + max(FRESH_S, IDLE_FACTOR * took_s), made)
            return self._kept[1]
