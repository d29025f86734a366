"""A whole device, from joining to a committed update, on brokers that only speak MQTT 3.1.1."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from agent.demo.fleet import DemoFleet
from agent.fleet.controller import Controller, Services
from agent.fleet.keys import KeyService
from agent.schema.config import BrokerConfig
from tests.parts.other_brokers import (
    HOST,
    NatsCluster,
    RabbitBroker,
    needs_nats,
    needs_rabbitmq,
)
from tests.parts.site import Site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

OtherBroker = NatsCluster | RabbitBroker


class OtherSite(Site):
    """A site whose controller and devices meet at another broker."""

    def __init__(self, folder: Path, broker: OtherBroker, monkeypatch: pytest.MonkeyPatch) -> None:
        def replace_broker(fleet: DemoFleet) -> None:
            fleet.broker = broker  # type: ignore[assignment]
            services = Services(KeyService(fleet.registry), fleet.road)
            settings = BrokerConfig(
                host=HOST, port=broker.port, protocol="3.1.1", allow_plaintext=True
            )
            fleet.controller = Controller(settings, services)

        original = DemoFleet.__init__

        def made(fleet: DemoFleet, folder: Path) -> None:
            original(fleet, folder)
            replace_broker(fleet)

        monkeypatch.setattr(DemoFleet, "__init__", made)
        self._port = broker.port
        super().__init__(folder)

    @property
    def meeting_point(self) -> dict[str, Any]:
        """The broker section of a device's configuration."""
        return {"host": HOST, "port": self._port, "allow_plaintext": True}


@pytest.fixture
def other_site(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[OtherBroker], OtherSite]]:
    made: list[OtherSite] = []

    def make(broker: OtherBroker) -> OtherSite:
        made.append(OtherSite(tmp_path / "site", broker, monkeypatch))
        return made[-1]

    yield make
    for site in made:
        site.close()
    for log in tmp_path.rglob("vigil.log"):
        sys.stdout.write(log.read_text())  # pytest shows it where the test failed


# A cluster refuses subscriptions while it elects its leaders; they are asked for again.
@needs_nats
@pytest.mark.timeout(600)
def test_a_device_lives_on_a_nats_cluster_that_loses_a_node(
    tmp_path: Path, other_site: Callable[[OtherBroker], OtherSite]
) -> None:
    cluster = NatsCluster(tmp_path / "nats")
    site = other_site(cluster)
    device = site.serving("on-nats", broker=site.meeting_point)
    assert device.status.link == "connected by MQTT 3.1.1"
    cluster.kill_one()
    reply = site.install(device, site.release("2.0.0"), 300.0)
    assert reply.status.value == "succeeded", reply
    site.wait(device, lambda state: (state.release or "").endswith("2.0.0"), 120.0)


@needs_rabbitmq
def test_a_device_lives_on_rabbitmq(
    tmp_path: Path, other_site: Callable[[OtherBroker], OtherSite]
) -> None:
    site = other_site(RabbitBroker(tmp_path / "rabbit"))
    device = site.serving("on-rabbit", broker=site.meeting_point)
    assert device.status.link == "connected by MQTT 3.1.1"
    device.kill()
    site.wait(device, lambda state: not state.online, 60.0)
