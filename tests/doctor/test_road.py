"""The road to the broker, fault by fault, with real brokers and real certificates."""

from __future__ import annotations

import datetime as dt
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agent.control.link.examine import BrokerVisit, Errand, visit
from agent.control.link.rivals import RIVALS
from agent.doctor.network import as_the_agent_says, judge_visit, look_at_broker
from agent.doctor.patient import admit
from agent.schema.config import BrokerConfig, Config, DeviceConfig, TlsConfig
from agent.schema.doctor import Finding, Level
from tests.parts.broker import Broker, BrokerFactory, Tls
from tests.parts.certificates import Authority, Credentials
from tests.parts.processes import until


@dataclass(frozen=True)
class Road:
    authority: Authority
    broker: Broker

    def findings(
        self,
        folder: Path,
        *,
        own: Credentials | None = None,
        ca: Path | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> dict[str, Finding]:
        own = own or self.authority.client("dev-1")
        tls = TlsConfig(
            ca=str(ca or self.authority.certificate), cert=str(own.certificate), key=str(own.key)
        )
        config = Config(
            schema=1,
            device=DeviceConfig(id="dev-1", device_class="gate"),
            broker=BrokerConfig(host=host, port=port or self.broker.port, tls=tls),
            state_dir=str(folder),
            runtime_dir=str(folder),
        )
        return {finding.check: finding for finding in look_at_broker(admit(config))}


@pytest.fixture
def road(authority: Authority, tls_mosquitto: Broker) -> Road:
    return Road(authority, tls_mosquitto)


def test_a_good_road_without_a_controller_ends_with_a_warning(road: Road, tmp_path: Path) -> None:
    found = road.findings(tmp_path)
    assert found["broker.login"].what == "logged in as dev-1 by MQTT 5"
    assert found["broker.topics"].level is Level.OK
    assert found["controller"].code == "controller.silent"
    assert "vigil-controller" in found["controller"].fix


def other_authority(folder: Path) -> Authority:
    (folder / "other").mkdir()
    return Authority(folder / "other", "Somebody Else")


FAULTS: dict[str, tuple[str, str, Callable[[Road, Path], dict[str, Finding]]]] = {
    "an unknown name": (
        "broker.dns",
        "broker.unknown_host",
        lambda road, folder: road.findings(folder, host="no-such-broker.invalid"),
    ),
    "a closed port": (
        "broker.tcp",
        "broker.unreachable",
        lambda road, folder: road.findings(folder, port=1),
    ),
    "an authority that did not sign the broker": (
        "broker.tls",
        "broker.unknown_authority",
        lambda road, folder: road.findings(folder, ca=other_authority(folder).certificate),
    ),
    "an expired certificate of our own": (
        "broker.tls",
        "broker.refuses_certificate",
        lambda road, folder: road.findings(
            folder, own=road.authority.client("dev-1", valid=-dt.timedelta(days=2))
        ),
    ),
    "a certificate of a stranger": (
        "broker.tls",
        "broker.refuses_certificate",
        lambda road, folder: road.findings(folder, own=other_authority(folder).client("dev-1")),
    ),
    "missing files": (
        "broker.tls",
        "config.invalid",
        lambda road, folder: road.findings(
            folder, own=Credentials(folder / "none.crt", folder / "none.key")
        ),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_first_step_that_fails_is_named_and_ends_the_walk(
    road: Road, tmp_path: Path, fault: str
) -> None:
    check, code, walk = FAULTS[fault]
    found = walk(road, tmp_path)
    assert list(found)[-1] == check, found
    assert found[check].code == code
    assert found[check].level is Level.PROBLEM
    assert found[check].fix


def test_a_broker_with_another_name_in_its_certificate(
    broker_factory: BrokerFactory, authority: Authority, tmp_path: Path
) -> None:
    broker = broker_factory(tls=Tls(authority, authority.server("broker.example")))
    found = Road(authority, broker).findings(tmp_path, host="localhost")
    assert found["broker.tls"].code == "broker.other_name"
    assert "not localhost" in found["broker.tls"].fix


def test_a_port_that_speaks_no_tls(road: Road, mosquitto: Broker, tmp_path: Path) -> None:
    found = road.findings(tmp_path, port=mosquitto.port)
    assert found["broker.tls"].code == "broker.no_tls"
    assert "openssl s_client" in found["broker.tls"].fix


def test_an_access_list_that_closes_our_topics(
    broker_factory: BrokerFactory, authority: Authority, tmp_path: Path
) -> None:
    closed = "user somebody-else\ntopic readwrite #\n"
    broker = broker_factory(tls=Tls(authority, authority.server(), acl=closed))
    found = Road(authority, broker).findings(tmp_path)
    assert found["broker.topics"].code == "broker.may_not_write"
    assert "access file" in found["broker.topics"].fix


def test_an_examination_eats_no_command_that_waits_at_the_broker(
    road: Road, mosquitto: Broker, tmp_path: Path
) -> None:
    def connect(name: str) -> paho.Client:
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=paho.MQTTv5)
        lasting = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        lasting.SessionExpiryInterval = 3600
        client.on_message = lambda _client, _user, message: heard.append(bytes(message.payload))
        client.connect("127.0.0.1", mosquitto.port, clean_start=False, properties=lasting)
        client.loop_start()
        until(client.is_connected, 30, "a connection")
        return client

    def leave(client: paho.Client) -> None:
        client.disconnect()
        client.loop_stop()

    heard: list[bytes] = []
    command = "vigil/1/d/dev-1/cmd"
    device = connect("dev-1")
    asked = threading.Event()
    device.on_subscribe = lambda *_: asked.set()
    device.subscribe(command, qos=1)
    assert asked.wait(60)
    leave(device)
    desk = connect("desk")
    desk.publish(command, b"important", qos=1).wait_for_publish(10)
    plain = BrokerConfig(host="127.0.0.1", port=mosquitto.port, allow_plaintext=True)
    errand = Errand([command], ("vigil/1/d/dev-1/blk/req", b"{}"), "vigil/1/d/dev-1/blk/rsp")
    assert visit(plain, "dev-1", errand, limit_s=2.0).published
    device = connect("dev-1")
    until(lambda: heard == [b"important"], 30, "the command is delivered to the agent")
    leave(device)
    leave(desk)


def test_a_broker_that_never_answers_is_given_up(tmp_path: Path, authority: Authority) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        broker = type("Silent", (), {"port": silent.getsockname()[1]})()
        found = Road(authority, broker).findings(tmp_path)
    assert found["broker.tls"].level is Level.PROBLEM or found["broker.tcp"].level is Level.PROBLEM


def test_what_a_broker_says_of_subscriptions_and_logins_is_passed_on() -> None:
    (refused,) = judge_visit(BrokerVisit("5", refused="Not authorized"), "dev-1")
    assert refused.code == "broker.refuses_device"
    assert "Not authorized" in refused.what
    seen = BrokerVisit("5", accepted=True, closed_topics={"t": "Not authorized"}, published=True)
    assert [one.code for one in judge_visit(seen, "dev-1")][1] == "broker.may_not_read"


@pytest.mark.parametrize("words", RIVALS)
def test_a_rival_is_named_also_while_the_agent_is_connected(words: str) -> None:
    for link in (f"connected by MQTT 5; {words}", f"broker closed the connection; {words}"):
        (found,) = as_the_agent_says(link, "dev-1")
        assert (found.code, found.level) == ("broker.rival", Level.PROBLEM)
        assert "vigil fleet revoke HOME dev-1" in found.fix
    assert next(as_the_agent_says("connected by MQTT 5", "dev-1")).level is Level.OK
