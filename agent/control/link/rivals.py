"""Whether another client uses this device's identity, as far as the ends of connections tell. Decisions only: no clock.

Rules
- A broker that speaks MQTT 5 may say so (reason code 0x8E, Session taken over). Mosquitto before 2.0.15, and every
  broker by MQTT 3.1.1, just closes the connection: three times soon after letting the device in is a suspicion.
- It is told of for ten minutes, also while connected: two clients throw each other out in turns.
"""

from __future__ import annotations

import math

from agent.control.link.dialling import Ending

_SOON_S = 60.0  # the longest wait of a rival that was thrown out itself
_PATIENCE = 3
_TOLD_S = 600.0
TAKEN_OVER = "another client took over the session of this device's id"
SUSPECTED = "perhaps another client uses this device's id: the broker closed three connections soon after accepting them"
RIVALS = (TAKEN_OVER, SUSPECTED)
FIND_THE_COPY = "find the copy: a cloned card, a restored backup, a stolen box; or revoke the device and enrol this one anew"


class Rivals:
    """What the ends of connections say of others with this identity; times are seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._closed = 0
        self._seen_s = -math.inf
        self._words = ""

    def ended(self, ending: Ending, lasted_s: float, now_s: float) -> bool:
        """Take note of how a connection or attempt ended; return whether that is news to tell of."""
        was_told = bool(self.told(now_s))
        soon = ending is Ending.DROPPED and lasted_s < _SOON_S
        self._closed = self._closed + 1 if soon else 0
        if ending is Ending.TAKEN_OVER or self._closed >= _PATIENCE:
            self._words = TAKEN_OVER if ending is Ending.TAKEN_OVER else SUSPECTED
            self._seen_s = now_s
        return not was_told and bool(self.told(now_s))

    def told(self, now_s: float) -> str:
        """Return what is known or suspected of a rival, empty when nothing."""
        return self._words if now_s - self._seen_s < _TOLD_S else ""
