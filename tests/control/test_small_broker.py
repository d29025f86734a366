"""A broker that knows only MQTT 3.1.1 and never answers a version 5 CONNECT: amqtt."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest
from amqtt.broker import Broker as SmallBroker

from agent.control.link import Incoming, Link, Presence, Subscription
from agent.control.link import session as session_module
from agent.host.ports import free_port
from agent.schema.config import BrokerConfig
from tests.control.world import TOPICS, WAIT_S, until

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def port() -> Iterator[int]:
    """The port of an amqtt broker in a thread."""
    number, ready, loop = free_port(), threading.Event(), asyncio.new_event_loop()
    config = {
        "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{number}"}},
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    }
    stop = asyncio.Event()

    async def serve() -> None:
        broker = SmallBroker(config, loop)
        await broker.start()
        ready.set()
        await stop.wait()
        await broker.shutdown()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    assert ready.wait(WAIT_S)
    yield number
    loop.call_soon_threadsafe(stop.set)
    thread.join(WAIT_S)


def test_auto_reaches_a_broker_that_never_answers_version_5(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "CONNACK_TIMEOUT_S", 1.0)
    broker = BrokerConfig(host="127.0.0.1", port=port, allow_plaintext=True)
    link = Link(broker, TOPICS, presence=Presence(TOPICS.state, lambda: b"here", b"gone"))
    heard: list[Incoming] = []
    link.subscribe(Subscription(TOPICS.command, heard.append))
    link.start()
    assert until(lambda: link.connected)
    assert link.protocol == "3.1.1"
    assert link.publish(TOPICS.command, b"to myself").wait(WAIT_S)
    assert until(lambda: [one.payload for one in heard] == [b"to myself"])
    link.stop(2.0)
