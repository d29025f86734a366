"""A certificate that is replaced while the device runs: a new connection, no restart, no message lost."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from agent.control.link import Incoming, Link, Presence, Subscription
from agent.schema.topics import DeviceTopics
from tests.control.world import DEVICE, TOPICS, mutual, until
from tests.parts.broker import needs_mosquitto

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.parts.broker import Broker
    from tests.parts.certificates import Authority, Credentials

pytestmark = needs_mosquitto

PRESENCE = Presence(TOPICS.state, lambda: b"here", b"gone")


@pytest.fixture
def own(authority: Authority) -> Credentials:
    return authority.client(DEVICE)


@pytest.fixture
def link(tls_mosquitto: Broker, authority: Authority, own: Credentials) -> Iterator[Link]:
    link = Link(mutual(tls_mosquitto, authority, own), TOPICS, presence=PRESENCE)
    link.start()
    assert until(lambda: link.connected)
    yield link
    link.stop(1.0)


@pytest.fixture
def heard(tls_mosquitto: Broker, authority: Authority) -> Iterator[list[Incoming]]:
    """What the backend hears of the device."""
    backend = Link(
        mutual(tls_mosquitto, authority, authority.client("backend")), DeviceTopics("backend")
    )
    messages, ready = list[Incoming](), list[int]()
    for topic in (TOPICS.reply, TOPICS.state):
        backend.subscribe(Subscription(topic, messages.append, lambda: ready.append(1)))
    backend.start()
    assert until(lambda: len(ready) == 2)
    yield messages
    backend.stop(1.0)


def test_a_new_certificate_is_used_without_restart_and_without_losing_a_message(
    link: Link, heard: list[Incoming], authority: Authority, own: Credentials
) -> None:
    sent = 0

    def send() -> None:
        nonlocal sent
        if link.publish(TOPICS.reply, b"%d" % sent).wait(5.0):
            sent += 1

    for _ in range(50):
        send()
    before = own.certificate.read_bytes()
    assert authority.client(DEVICE) == own
    assert own.certificate.read_bytes() != before
    while link.connections < 2:
        send()
    for _ in range(50):
        send()
    assert until(lambda: len(_payloads(heard, TOPICS.reply)) >= sent)
    assert _payloads(heard, TOPICS.reply) == [b"%d" % number for number in range(sent)]
    assert link.connections == 2
    assert b"gone" not in _payloads(heard, TOPICS.state)


def test_a_certificate_without_its_key_waits_for_it(
    link: Link, authority: Authority, own: Credentials, caplog: pytest.LogCaptureFixture
) -> None:
    kept = own.key.read_bytes()
    authority.client(DEVICE)
    new_key = own.key.read_bytes()
    own.key.write_bytes(kept)
    assert until(lambda: "the replaced certificate is not used yet" in caplog.text)
    assert link.connected
    assert link.connections == 1
    own.key.write_bytes(new_key)
    assert until(lambda: link.connections == 2 and link.connected)


def test_files_that_vanish_change_nothing_until_the_broker_is_needed_again(
    link: Link, tls_mosquitto: Broker, own: Credentials, caplog: pytest.LogCaptureFixture
) -> None:
    aside = own.key.with_suffix(".aside")
    shutil.move(own.key, aside)
    assert until(lambda: "there is no file" in caplog.text)
    tls_mosquitto.restart()
    assert until(lambda: link.connections == 2)
    shutil.move(aside, own.key)
    assert until(lambda: link.connected)


def _payloads(heard: list[Incoming], topic: str) -> list[bytes]:
    return [one.payload for one in list(heard) if one.topic == topic]
