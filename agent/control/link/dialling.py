"""How to dial again: which protocol and after how long. Decisions only: no sockets, no clock.

Rules
- `auto` tries MQTT 5 and then 3.1.1; what worked is kept until it fails three times in a row. A broker
  that knows only 3.1.1 may refuse a version 5 CONNECT, close on it or, like amqtt, never answer.
- The first switch to the other protocol costs no waiting; every full round does.
- Waits double, with jitter, and depend on the fault: a broker that is away is asked soon, one that
  refuses this device's credentials is asked rarely.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from agent.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.schema.config import BrokerConfig
    from agent.schema.topics import DeviceTopics

STABLE_S = 10.0
_PATIENCE = 3


class Mqtt(str, enum.Enum):
    """Protocol versions."""

    V5 = "5"
    V311 = "3.1.1"


_CANDIDATES = {
    "auto": (Mqtt.V5, Mqtt.V311),
    "5": (Mqtt.V5,),
    "3.1.1": (Mqtt.V311,),
}


class Ending(str, enum.Enum):
    """How a connection, or the attempt at one, ended."""

    LOST = "connection lost"
    DROPPED = "broker closed the connection without a reason"
    UNREACHABLE = "broker cannot be reached"
    SILENT = "broker does not answer CONNECT"
    CLOSED = "broker closed the connection before answering CONNECT"
    UNSUPPORTED = "broker does not speak this protocol version"
    UNTRUSTED = "TLS handshake failed"
    REFUSED = "broker refuses this device"
    TAKEN_OVER = "another client connected with this device's id"
    MUTE = "broker acknowledges nothing"


# Seconds before the second attempt, and the most that doubling leads to.
_WAITS_S = {
    Ending.LOST: (0.5, 60.0),
    Ending.DROPPED: (0.5, 60.0),
    Ending.UNREACHABLE: (0.5, 60.0),
    Ending.SILENT: (1.0, 60.0),
    Ending.CLOSED: (2.0, 300.0),
    Ending.UNSUPPORTED: (2.0, 300.0),
    Ending.UNTRUSTED: (10.0, 600.0),
    Ending.REFUSED: (10.0, 600.0),
    Ending.TAKEN_OVER: (10.0, 600.0),
    Ending.MUTE: (2.0, 300.0),
}
# The same after a subscription was refused on a connection that stays.
_ASK_AGAIN_S, _MAX_ASK_AGAIN_S = 2.0, 60.0
_WRONG_PROTOCOL = frozenset({Ending.SILENT, Ending.CLOSED, Ending.UNSUPPORTED})


@dataclass(frozen=True)
class Dial:
    """What is remembered between two attempts."""

    candidates: tuple[Mqtt, ...]
    position: int = 0
    failures: int = 0
    proven: bool = False

    @property
    def protocol(self) -> Mqtt:
        """The version to try now."""
        return self.candidates[self.position % len(self.candidates)]

    def accepted(self) -> Dial:
        """Return the memory after a CONNACK."""
        return replace(self, proven=True)

    def ended(self, ending: Ending, lasted_s: float) -> Dial:
        """Return the memory after an attempt that ended so, `lasted_s` seconds after its CONNACK.

        A connection that lasted clears the count of failures; one that is thrown out again at once
        does not, so that two devices with one identity do not fight at full speed.
        """
        failures = 1 if lasted_s >= STABLE_S else self.failures + 1
        proven = self.proven and failures < _PATIENCE
        turn = ending in _WRONG_PROTOCOL and not proven
        return replace(self, position=self.position + turn, failures=failures, proven=proven)

    def wait_s(self, ending: Ending, jitter: float) -> float:
        """Return how long to wait, seconds; `jitter` is a random number in [0, 1)."""
        if ending in _WRONG_PROTOCOL and 0 < self.position < len(self.candidates):
            return 0.0
        first_s, most_s = _WAITS_S[ending]
        doubled_s = first_s * 2.0 ** min(self.failures - 1, 16)
        return min(most_s, doubled_s) * (0.5 + jitter / 2)


def first_dial(protocol: str) -> Dial:
    """Return the memory before the first attempt.

    Raises:
        ConfigError: `protocol` is none of `auto`, `5`, `3.1.1`.
    """
    if protocol not in _CANDIDATES:
        message = f"broker.protocol: expected one of {', '.join(_CANDIDATES)}, found {protocol!r}"
        raise ConfigError(message, hint="leave it out for auto")
    return Dial(_CANDIDATES[protocol])


def check_address(broker: BrokerConfig, topics: DeviceTopics) -> None:
    """Refuse what would make every attempt fail.

    Raises:
        ConfigError: Host, port or prefix cannot be right.
    """
    wrong = [character for character in "+#$\0" if character in topics.prefix]
    levels = topics.prefix.split("/")
    problems = (
        ("host", "a host name or address", broker.host, not broker.host.strip()),
        ("port", "1 to 65535", broker.port, not broker.port),
        ("prefix", "a topic without wildcards", topics.prefix, wrong or "" in levels),
    )
    for place, expected, found, is_wrong in problems:
        if is_wrong:
            raise ConfigError(f"broker.{place}: expected {expected}, found {found!r}")


def refusal_pauses_s() -> Iterator[float]:
    """Yield the seconds after each refusal of a subscription until it is asked for again.

    A cluster refuses while it elects its leaders, an access list for ever.
    """
    pause_s = _ASK_AGAIN_S
    while True:
        yield min(pause_s, _MAX_ASK_AGAIN_S)
        pause_s *= 2
