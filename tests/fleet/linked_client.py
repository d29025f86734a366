"""A device's own link to the broker, for devices that are otherwise light: it has a session there, and dials again by itself."""

from __future__ import annotations

import queue

from agent.control.link import Link
from agent.control.link.traffic import Incoming, Presence, Subscription
from agent.schema.config import BrokerConfig
from agent.schema.document import to_json
from agent.schema.messages import State
from agent.schema.topics import DeviceTopics
from tests.parts.processes import until

_PATIENCE_S = 60.0


class LinkedClient:
    """What `LightDevice` wants of a client; the last state is said at every connect, as real devices do."""

    def __init__(self, name: str, broker: BrokerConfig) -> None:
        self.inbox: queue.Queue[tuple[str, bytes, bool]] = queue.Queue()
        self._state = to_json(State(v=1, device=name, online=True, policy_ver=1))
        topics, gone = DeviceTopics(name), to_json(State(v=1, device=name, online=False))
        self._link = Link(
            broker, topics, presence=Presence(topics.state, lambda: self._state, gone)
        )
        self._link.subscribe(Subscription(topics.command, self._take))
        self._link.start()

    @property
    def connections(self) -> int:
        """How many there were so far."""
        return self._link.connections

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Say something until the broker has it."""
        if retain:
            self._state = payload

        def left() -> bool:
            return self._link.publish(topic, payload, retain=retain).wait(5.0)

        until(left, _PATIENCE_S, f"the broker has {topic}")

    def close(self) -> None:
        self._link.stop()

    def _take(self, message: Incoming) -> None:
        self.inbox.put((message.topic, message.payload, message.retained))
