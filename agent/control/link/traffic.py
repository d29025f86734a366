"""What travels over the link, as values: messages out and in, subscriptions, presence, tickets."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# Fixed header (5), topic length (2), packet id (2) and an empty property list (1): MQTT 5, section 3.3.
_PUBLISH_OVERHEAD_BYTES = 10


class Ticket:
    """What became of one published message; settled exactly once, by the link.

    Attributes:
        acked: The broker has it (QoS 1), or it was handed to the socket (QoS 0).
        refused: Why the broker will never take it; empty when trying again makes sense.
    """

    def __init__(self) -> None:
        self.acked = False
        self.refused = ""
        self._settled = threading.Event()

    @property
    def settled(self) -> bool:
        """Whether the outcome is known."""
        return self._settled.is_set()

    def wait(self, timeout_s: float) -> bool:
        """Wait for the outcome, seconds; return whether the broker has the message."""
        self._settled.wait(timeout_s)
        return self.acked

    def settle(self, *, acked: bool, refused: str = "") -> None:
        """Record the outcome and wake whoever waits."""
        self.acked = acked
        self.refused = refused
        self._settled.set()


@dataclass(frozen=True)
class Outgoing:
    """One message on its way to the broker."""

    topic: str
    payload: bytes
    qos: int
    retain: bool = False
    ticket: Ticket = field(default_factory=Ticket)

    @property
    def packet_bytes(self) -> int:
        """Size of its PUBLISH packet, bytes, rounded up."""
        return len(self.topic.encode()) + len(self.payload) + _PUBLISH_OVERHEAD_BYTES


@dataclass(frozen=True)
class Incoming:
    """One message from the broker; `retained` means that it is old: it was kept, not just sent."""

    topic: str
    payload: bytes
    retained: bool = False


@dataclass(frozen=True)
class Subscription:
    """One topic (no wildcards): `handler` and `ready` run on the network thread and must not block.

    `ready` is called whenever the broker has confirmed the subscription, again after each reconnect.
    """

    topic: str
    handler: Callable[[Incoming], None]
    ready: Callable[[], None] = lambda: None
    qos: int = 1


@dataclass(frozen=True)
class Presence:
    """The retained message that says whether this device is there; `offline` is also the last will."""

    topic: str
    online: Callable[[], bytes]
    offline: bytes
