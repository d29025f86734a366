"""The two ends of a device's line in endurance tests: what sends its outbox, and what counts arrivals."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from typing_extensions import Self

from agent.control.link import Link, Presence, Subscription
from agent.schema.config import BrokerConfig
from agent.schema.messages import State, Telemetry
from agent.schema.topics import DeviceTopics
from agent.telemetry.outbox import Outbox
from agent.telemetry.reporter import Reporter, Sources
from tests.parts.broker import Broker

TOPICS = DeviceTopics("endurance")
WAIT_S = 60.0


def until(
    condition: Callable[[], object], timeout_s: float = WAIT_S, every_s: float = 0.005
) -> bool:
    """Whether `condition` became true in time."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(every_s)
    return True


class Sender:
    """Link and reporter around an outbox."""

    def __init__(self, broker: Broker, outbox: Outbox) -> None:
        settings = BrokerConfig(host=broker.host, port=broker.port, allow_plaintext=True)
        presence = Presence(TOPICS.state, lambda: b"here", b"gone")
        state = State(v=1, device=TOPICS.device, online=True)
        self.link = Link(settings, TOPICS, presence=presence)
        self._outbox = outbox
        reporter = Reporter(TOPICS, self.link, outbox, Sources(lambda: state, _unasked), 1e9)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=reporter.run, args=(self._stop,), name="reporter")

    def __enter__(self) -> Self:
        self.link.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(WAIT_S)
        self.link.stop(2.0)
        self._outbox.close()


class Inbox:
    """The numbers that arrive at the other end, by topic."""

    def __init__(self, broker: Broker, topics: Iterable[str]) -> None:
        settings = BrokerConfig(host=broker.host, port=broker.port, allow_plaintext=True)
        self._numbers: dict[str, list[int]] = {topic: [] for topic in topics}
        self.link = Link(settings, DeviceTopics("inbox"))
        self._confirmed_at = dict.fromkeys(self._numbers, 0)
        for topic, numbers in self._numbers.items():
            take = lambda message, to=numbers: to.append(int(message.payload[:8]))  # noqa: E731
            confirm = lambda topic=topic: self._confirm(topic)  # noqa: E731
            self.link.subscribe(Subscription(topic, take, confirm))
        self.link.start()
        assert until(lambda: self.ready), "the inbox could not subscribe"

    @property
    def ready(self) -> bool:
        """Whether the present connection has all its subscriptions."""
        now = self.link.connections
        return now > 0 and all(one == now for one in self._confirmed_at.values())

    def _confirm(self, topic: str) -> None:
        self._confirmed_at[topic] = self.link.connections

    def newest(self, topic: str) -> int:
        """The last number on a topic, -1 for none."""
        return (self._numbers[topic] or [-1])[-1]

    def close(self) -> dict[str, list[int]]:
        """Return all numbers, once no more come."""
        count = -1
        while count != (count := sum(map(len, self._numbers.values()))):
            time.sleep(0.05)
        self.link.stop(1.0)
        return self._numbers


def _unasked() -> Telemetry:
    raise AssertionError
