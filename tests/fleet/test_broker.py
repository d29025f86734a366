"""The embedded broker's own rules and its stopping and starting."""

from __future__ import annotations

import subprocess
import threading
from typing import Any

import pytest

from agent.errors import TransferError
from agent.fleet.broker import EmbeddedBroker
from agent.fleet.mosquitto import mosquitto_configuration, reload
from agent.host.ports import free_port
from tests.fleet.mqtt_device import WAIT_S, Device
from tests.fleet.test_controller import PREFIX, state
from tests.parts.broker import MOSQUITTO, needs_mosquitto
from tests.parts.processes import until


def test_unregistered_and_revoked_devices_are_not_let_in(
    embedded: EmbeddedBroker, fleet: Any
) -> None:
    stranger = Device(embedded.port, fleet.tls("cam-9"), client_id="cam-9")
    assert not stranger.accepted()
    stranger.close()
    fleet.registry.revoke("cam-1")
    revoked = Device(embedded.port, fleet.tls("cam-1"))
    assert not revoked.accepted()
    revoked.close()


@pytest.mark.parametrize("client_id", ["cam-2", "cam-1-other", "controller-1"])
def test_a_device_cannot_connect_under_another_clients_id(
    embedded: EmbeddedBroker, fleet: Any, client_id: str
) -> None:
    device = Device(embedded.port, fleet.tls("cam-1"), client_id=client_id)
    assert not device.accepted()
    device.close()


def test_on_mosquitto_nobody_throws_out_another_by_taking_its_client_id(
    mosquitto: int, fleet: Any
) -> None:
    victim = Device(mosquitto, fleet.tls("cam-1"))
    assert victim.accepted()
    victim.subscribe(f"{PREFIX}/cmd")
    thief = Device(mosquitto, fleet.tls("cam-2"), client_id="cam-1")
    assert thief.accepted()
    assert victim.client.is_connected()
    thief.publish(f"{PREFIX}/state", state("cam-1", online=False), retain=True)
    assert victim.client.is_connected()
    for device in (victim, thief):
        device.close()


def test_of_two_machines_with_one_certificate_one_is_connected_and_heard(
    mosquitto: int, fleet: Any
) -> None:
    first = Device(mosquitto, fleet.tls("cam-1"), will=(f"{PREFIX}/state", state(online=False)))
    assert first.accepted()
    first.client.reconnect_delay_set(600, 600)  # or they throw out each other for ever
    second = Device(mosquitto, fleet.tls("cam-1"), client_id="another")
    assert second.accepted()
    until(lambda: not first.client.is_connected(), 30.0, "the first is thrown out")
    second.publish(f"{PREFIX}/state", state(), retain=True)
    controller = fleet.controller(mosquitto)
    controller.start()
    controller.inbox.wait_state("cam-1", lambda s: s.online, 30.0)
    assert [one.device for one in controller.inbox.states()] == ["cam-1"]
    controller.stop()
    for device in (first, second):
        device.close()


@needs_mosquitto
def test_a_broker_that_is_told_of_devices_while_it_starts_goes_on(fleet: Any) -> None:
    fleet.authority.server_certificate(["127.0.0.1"]).write(fleet.folder, "broker")
    fleet.write_access()
    log, settings = fleet.folder / "mosquitto.log", fleet.folder / "mosquitto.conf"
    settings.write_text(mosquitto_configuration(fleet.folder, free_port()))
    with log.open("wb") as output:
        command = [str(MOSQUITTO), "-c", str(settings)]
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        # It says its number before it listens to signals.
        until((fleet.folder / "mosquitto.pid").exists, WAIT_S, "it is starting", every_s=0.0)
        until(lambda: reload(fleet.folder), WAIT_S, "it is told", every_s=0.0)
        until(lambda: "Reloading config" in log.read_text(), WAIT_S, "it read its files again")
    finally:
        process.terminate()
        assert process.wait(WAIT_S) == 0


def test_a_last_will_on_another_devices_topic_is_refused(
    embedded: EmbeddedBroker, fleet: Any
) -> None:
    will = ("vigil/1/d/cam-2/state", state("cam-2", online=False))
    device = Device(embedded.port, fleet.tls("cam-1"), will=will)
    assert not device.accepted()
    device.close()


def test_a_new_client_is_not_sent_what_others_subscribed_to(
    embedded: EmbeddedBroker, fleet: Any
) -> None:
    controller = fleet.controller(embedded.port)
    controller.start()
    first = Device(embedded.port, fleet.tls("cam-1"))
    assert first.accepted()
    first.publish(f"{PREFIX}/state", state(), retain=True)
    controller.inbox.wait_state("cam-1", lambda s: s.online, WAIT_S)
    second = Device(embedded.port, fleet.tls("cam-2"), client_id="cam-2")
    assert second.accepted()
    assert second.silent()
    for device in (first, second):
        device.close()
    controller.stop()


def test_after_a_restart_controller_and_devices_find_each_other_again(
    embedded: EmbeddedBroker, fleet: Any
) -> None:
    controller = fleet.controller(embedded.port)
    controller.start()
    device = Device(embedded.port, fleet.tls("cam-1"))
    assert device.accepted()
    embedded.stop()
    embedded.start()
    assert device.accepted()
    until(lambda: controller.connected, WAIT_S, "the controller is back")
    device.publish(f"{PREFIX}/state", state(), retain=True)
    controller.inbox.wait_state("cam-1", lambda s: s.online, WAIT_S)
    device.close()
    controller.stop()


def test_a_taken_port_is_named(embedded: EmbeddedBroker, fleet: Any) -> None:
    second = EmbeddedBroker(
        fleet.folder / "second", fleet.authority, fleet.members, port=embedded.port
    )
    with pytest.raises(TransferError, match=str(embedded.port)):
        second.start()


def test_stopping_leaves_no_thread_behind_and_may_be_repeated(
    embedded: EmbeddedBroker,
) -> None:
    before = broker_threads()
    embedded.stop()
    embedded.stop()
    assert len(broker_threads()) == len(before) - 1


def broker_threads() -> list[threading.Thread]:
    """Threads of embedded brokers; other tests of this run may keep one open."""
    return [thread for thread in threading.enumerate() if thread.name == "vigil-broker"]
