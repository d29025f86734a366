"""The link at a real broker: presence, reconnecting, acknowledgement, limits."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from agent.control.link import Incoming, Link, Presence, Subscription
from agent.errors import TransferError
from tests.control.world import TOPICS, WAIT_S, Observer, plain, until
from tests.parts.broker import Broker, needs_mosquitto

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.parts.broker import BrokerFactory

pytestmark = needs_mosquitto

PRESENCE = Presence(TOPICS.state, lambda: b"here", b"gone")

VICTIM = """
import sys, time
from agent.control.link import Link, Presence
from agent.schema.config import BrokerConfig
from agent.schema.topics import DeviceTopics
topics = DeviceTopics("dev-1")
broker = BrokerConfig(host="127.0.0.1", port=int(sys.argv[1]), protocol=sys.argv[2],
                      keepalive_s=5, allow_plaintext=True)
Link(broker, topics, presence=Presence(topics.state, lambda: b"here", b"gone")).start()
time.sleep(60)
"""


@pytest.fixture
def make_link() -> Iterator[Callable[..., Link]]:
    links: list[Link] = []

    def make(broker: Broker, *, presence: Presence | None = PRESENCE, **changes: object) -> Link:
        links.append(Link(plain(broker, **changes), TOPICS, presence=presence))
        return links[-1]

    yield make
    for link in links:
        link.stop(1.0)


@pytest.fixture
def observer(mosquitto: Broker) -> Iterator[Observer]:
    observer = Observer(mosquitto.port)
    yield observer
    observer.close()


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_the_last_will_is_seen_when_the_process_is_killed(
    mosquitto: Broker, observer: Observer, protocol: str
) -> None:
    command = [sys.executable, "-c", VICTIM, str(mosquitto.port), protocol]
    victim = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": os.getcwd()})  # noqa: PTH109
    try:
        observer.wait(TOPICS.state, lambda payload: payload == b"here")
        victim.send_signal(signal.SIGKILL)
        observer.wait(TOPICS.state, lambda payload: payload == b"gone")
    finally:
        victim.kill()
        victim.wait(WAIT_S)
    late = Observer(mosquitto.port)
    late.wait(TOPICS.state, lambda payload: payload == b"gone")
    assert late.seen[0].retain
    late.close()


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_killed_broker_is_found_again_and_told_the_state(
    mosquitto: Broker, make_link: Callable[..., Link], protocol: str
) -> None:
    link = make_link(mosquitto, protocol=protocol)
    heard: list[Incoming] = []
    link.subscribe(Subscription(TOPICS.command, heard.append))
    link.start()
    assert until(lambda: link.connected)
    mosquitto.kill()
    assert until(lambda: not link.connected)
    assert not link.publish(TOPICS.reply, b"lost").wait(0.0)
    mosquitto.start()
    assert until(lambda: link.connected)
    assert link.reconnects == 1
    observer = Observer(mosquitto.port)
    observer.wait(TOPICS.state, lambda payload: payload == b"here")
    observer.publish(TOPICS.command, b"again")
    assert until(lambda: [one.payload for one in heard] == [b"again"])
    observer.close()


def test_a_broker_that_is_absent_at_start_is_waited_for(
    mosquitto: Broker, make_link: Callable[..., Link]
) -> None:
    mosquitto.stop()
    link = make_link(mosquitto)
    link.start()
    assert until(lambda: "cannot be reached" in link.problem)
    assert not link.connected
    mosquitto.start()
    assert until(lambda: link.connected)
    assert link.description == "connected by MQTT 5"


def test_stopping_says_goodbye_and_sends_what_waits(
    mosquitto: Broker, observer: Observer, make_link: Callable[..., Link]
) -> None:
    link = make_link(mosquitto)
    link.start()
    assert until(lambda: link.connected)
    tickets = [link.publish(TOPICS.reply, b"%d" % number) for number in range(200)]
    link.stop(WAIT_S)
    assert all(ticket.acked for ticket in tickets)
    observer.wait(TOPICS.state, lambda payload: payload == b"gone")
    assert observer.payloads(TOPICS.reply) == [b"%d" % number for number in range(200)]
    assert observer.payloads(TOPICS.state) == [b"here", b"gone"]


def test_commands_sent_while_the_device_was_away_arrive(
    mosquitto: Broker, observer: Observer, make_link: Callable[..., Link]
) -> None:
    first = make_link(mosquitto)
    subscribed: list[str] = []
    ready = lambda: subscribed.append("yes")  # noqa: E731
    first.subscribe(Subscription(TOPICS.command, lambda _message: None, ready))
    first.start()
    assert until(lambda: subscribed)
    first.stop(1.0)
    observer.publish(TOPICS.command, b"meanwhile")
    second, heard = make_link(mosquitto), list[Incoming]()
    second.subscribe(Subscription(TOPICS.command, heard.append))
    second.start()
    assert until(lambda: heard)
    assert (heard[0].payload, heard[0].retained) == (b"meanwhile", False)


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_an_oversized_message_is_refused_and_ends_no_connection(
    mosquitto: Broker, make_link: Callable[..., Link], protocol: str
) -> None:
    link = make_link(mosquitto, protocol=protocol)
    link.start()
    assert until(lambda: link.connected)
    with pytest.raises(TransferError, match="the broker takes") as caught:
        link.publish(TOPICS.telemetry, bytes(400_000))
    assert caught.value.code == "transfer.too_large"
    assert link.publish(TOPICS.telemetry, b"small").wait(WAIT_S)
    assert link.reconnects == 0


def test_the_limit_that_the_broker_announces_is_kept(
    broker_factory: BrokerFactory, make_link: Callable[..., Link]
) -> None:
    broker = broker_factory(settings="max_packet_size 2000")
    link = make_link(broker)
    link.start()
    assert until(lambda: link.connected)
    topic = TOPICS.telemetry
    fits = 2000 - len(topic) - 10
    with pytest.raises(TransferError):
        link.publish(topic, bytes(fits + 1))
    assert link.publish(topic, bytes(fits)).wait(WAIT_S)
    assert link.reconnects == 0


def test_a_message_the_broker_forbids_is_refused_with_its_reason(
    broker_factory: BrokerFactory, tmp_path: Path, make_link: Callable[..., Link]
) -> None:
    rules = tmp_path / "rules"
    rules.write_text(f"topic readwrite {TOPICS.state}\n")
    link = make_link(broker_factory(settings=f"acl_file {rules}"))
    link.start()
    assert until(lambda: link.connected)
    ticket = link.publish(TOPICS.reply, b"forbidden")
    assert not ticket.wait(WAIT_S)
    assert ticket.refused == "Not authorized"


def test_a_channel_counts_subscriptions_and_refuses_to_send_offline(
    mosquitto: Broker, observer: Observer, make_link: Callable[..., Link]
) -> None:
    link = make_link(mosquitto)
    channel = link.channel("blk")
    with pytest.raises(TransferError) as caught:
        channel.send(b"too early")
    assert caught.value.code == "transfer.offline"
    link.start()
    assert until(lambda: channel.generation == 1)
    channel.send(b"ask")
    observer.wait(TOPICS.leaf("blk/req"), lambda payload: payload == b"ask")
    observer.publish(TOPICS.leaf("blk/rsp"), b"answer")
    assert channel.receive(WAIT_S) == b"answer"
    assert channel.receive(0.01) is None
    mosquitto.restart()
    assert until(lambda: channel.generation == 2)


def test_two_devices_with_one_identity_do_not_fight_at_full_speed(
    mosquitto: Broker, make_link: Callable[..., Link]
) -> None:
    began_s, links = time.monotonic(), [make_link(mosquitto, presence=None) for _ in range(2)]
    for link in links:
        link.start()
    assert until(lambda: sum(link.connections for link in links) > 4)
    assert time.monotonic() - began_s > 0.5, "none came back at once"


def test_a_flood_of_responses_is_dropped_not_kept(
    mosquitto: Broker, observer: Observer, make_link: Callable[..., Link]
) -> None:
    link = make_link(mosquitto)
    channel, heard = link.channel("blk"), list[Incoming]()
    link.subscribe(Subscription(TOPICS.command, heard.append))
    link.start()
    assert until(lambda: channel.generation == 1)
    for number in range(100):
        observer.publish(TOPICS.leaf("blk/rsp"), b"%d" % number)
    observer.publish(TOPICS.command, b"after the flood")
    assert until(lambda: heard)
    kept = [*(b"%d" % number for number in range(64)), None]
    assert [channel.receive(0.01) for _ in kept] == kept


NONSENSE = {
    "short CONNACK": b"\x20\x01\x00",
    "length without end": b"\x20\xff\xff\xff\xff\xff",
    "unknown packet": b"\xf0\x00",
    "properties cut off": b"\x20\x05\x00\x00\x7f\x27\x00",
    "web page": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "acknowledgement of nothing": b"\x20\x03\x00\x00\x00\x40\x02\x00\x09\x90\x01",
}


ANSWERS = {
    "taken over": (b"\x20\x03\x00\x00\x00\xe0\x01\x8e", "another client connected"),
    "not authorised": (b"\x20\x03\x00\x87\x00", "broker refuses this device: Not authorized"),
    "other version": (b"\x20\x03\x00\x84\x00", "does not speak this protocol version"),
    "version 3 reply": (b"\x20\x02\x00\x01", "does not speak this protocol version"),
}


@pytest.mark.parametrize(("answer", "problem"), ANSWERS.values(), ids=ANSWERS)
def test_what_the_broker_says_is_reported(
    make_link: Callable[..., Link], tmp_path: Path, answer: bytes, problem: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        link = make_link(_broker_at(server, tmp_path))
        link.start()
        peer, _ = server.accept()
        peer.sendall(answer)
        assert until(lambda: problem in link.problem), link.problem
        peer.close()


@pytest.mark.parametrize("answer", NONSENSE.values(), ids=NONSENSE)
def test_a_broker_that_talks_nonsense_is_left_and_dialled_again_later(
    make_link: Callable[..., Link], tmp_path: Path, answer: bytes
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        link = make_link(_broker_at(server, tmp_path))
        link.start()
        peer, _ = server.accept()
        peer.sendall(answer)
        peer.close()
        assert until(lambda: link.problem)
    assert link._thread is not None
    assert link._thread.is_alive()
    assert not link.connected


def _broker_at(server: socket.socket, folder: Path) -> Broker:
    server.settimeout(WAIT_S)
    broker = Broker(folder)
    broker.port = server.getsockname()[1]
    return broker
