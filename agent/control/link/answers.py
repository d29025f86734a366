"""What the broker still owes an answer for, and how quickly it answers."""

from __future__ import annotations

import collections
import time
from collections.abc import Callable

from agent.schema.measures import LinkQuality

# A broker that answers neither publish nor subscribe for so long is as good as gone.
TIMEOUT_S = 60.0
_SAMPLES = 64


class Answers:
    """Packets of one connection that wait for PUBACK or SUBACK, by packet id."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._sent_s: dict[int, float] = {}
        self._heard_s = now_s()

    def expect(self, packet: int) -> None:
        """Note that a packet was sent."""
        self._sent_s[packet] = self._now_s()

    def came(self, packet: int) -> float | None:
        """Note an answer; return how long it took, seconds, None when nothing had been asked."""
        sent_s = self._sent_s.pop(packet, None)
        if sent_s is None:
            return None
        self._heard_s = self._now_s()
        return self._heard_s - sent_s

    @property
    def overdue(self) -> bool:
        """Whether the broker has been silent for too long; a slow one that answers in turn is not."""
        if not self._sent_s:
            return False
        since_s = max(self._heard_s, next(iter(self._sent_s.values())))
        return self._now_s() - since_s > TIMEOUT_S


class RoundTrips:
    """The newest round trips of a link, all its connections together; thread-safe."""

    def __init__(self) -> None:
        self._trips_ms: collections.deque[float] = collections.deque(maxlen=_SAMPLES)
        self.count = 0

    def add(self, seconds: float) -> None:
        """Note one acknowledged message."""
        self._trips_ms.append(seconds * 1000)
        self.count += 1

    def quality(self, reconnects: int, protocol: str) -> LinkQuality:
        """Return what is reported of the link."""
        trips_ms = sorted(self._trips_ms)
        middle, worst = (trips_ms[len(trips_ms) // 2], trips_ms[-1]) if trips_ms else (None, None)
        return LinkQuality(
            protocol=protocol,
            reconnects=reconnects,
            acknowledged=self.count,
            round_trip_ms=None if middle is None else round(middle, 1),
            slowest_ms=None if worst is None else round(worst, 1),
        )
