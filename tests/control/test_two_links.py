"""Control and bulk as two connections: where one broker serves both, and where it takes a second one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from agent.control.link import Presence, make_links
from agent.schema.config import BulkConfig
from tests.control.world import DEVICE, TOPICS, WAIT_S, Observer, mutual, plain, until
from tests.parts.broker import Tls, needs_mosquitto

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agent.control.link import Links
    from agent.schema.config import BrokerConfig
    from tests.parts.broker import Broker, BrokerFactory
    from tests.parts.certificates import Authority

pytestmark = needs_mosquitto

PRESENCE = Presence(TOPICS.state, lambda: b"here", b"gone")


@pytest.fixture
def connect() -> Iterator[Callable[[BrokerConfig], Links]]:
    made: list[Links] = []

    def start(broker: BrokerConfig) -> Links:
        made.append(make_links(broker, TOPICS, PRESENCE))
        for link in made[-1].all:
            link.start()
        return made[-1]

    yield start
    for links in made:
        for link in links.all:
            link.stop(1.0)


def test_without_a_bulk_broker_transfers_share_the_control_link(
    mosquitto: Broker, connect: Callable[[BrokerConfig], Links]
) -> None:
    links = connect(plain(mosquitto))
    assert links.bulk is links.control
    channel = links.channel("blk")
    assert until(lambda: channel.generation == 1)


def test_one_broker_that_lets_clients_name_themselves_serves_both(
    mosquitto: Broker, connect: Callable[[BrokerConfig], Links]
) -> None:
    links = connect(plain(mosquitto, bulk=BulkConfig()))
    blocks, keys = links.channel("blk"), links.channel("key")
    assert until(lambda: blocks.generation == keys.generation == 1)
    observer = Observer(mosquitto.port)
    observer.publish(TOPICS.leaf("blk/rsp"), b"block")
    observer.publish(TOPICS.leaf("key/rsp"), b"grant")
    assert (blocks.receive(WAIT_S), keys.receive(WAIT_S)) == (b"block", b"grant")
    links.bulk.stop(1.0)
    assert links.control.connected
    assert observer.payloads(TOPICS.state) == [b"here"]
    observer.close()


def test_on_a_broker_that_forces_the_client_id_the_two_throw_each_other_out(
    tls_mosquitto: Broker, authority: Authority, connect: Callable[[BrokerConfig], Links]
) -> None:
    own = authority.client(DEVICE)
    links = connect(mutual(tls_mosquitto, authority, own, bulk=BulkConfig()))
    assert until(lambda: all(link.reconnects >= 1 for link in links.all))


def test_a_second_broker_process_serves_bulk_under_the_same_certificate(
    broker_factory: BrokerFactory, authority: Authority, connect: Callable[[BrokerConfig], Links]
) -> None:
    server = authority.server()
    control = broker_factory(tls=Tls(authority, server))
    bulk = broker_factory(tls=Tls(authority, server))
    own = authority.client(DEVICE)
    settings = mutual(control, authority, own, bulk=BulkConfig(port=bulk.port))
    links = connect(replace(settings, host="localhost"))
    assert until(lambda: all(link.connected for link in links.all))
    time.sleep(0.5)
    assert [link.reconnects for link in links.all] == [0, 0]
    bulk.kill()
    assert until(lambda: not links.bulk.connected)
    assert links.control.publish(TOPICS.reply, b"still here").wait(WAIT_S)
