"""The broker the other tests rely on does what they rely on."""

from __future__ import annotations

import queue
import ssl
from typing import TYPE_CHECKING

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from tests.parts.broker import needs_mosquitto
from tests.parts.processes import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.parts.broker import Broker
    from tests.parts.certificates import Authority, Credentials

pytestmark = needs_mosquitto

WAIT_S = 30.0


class Client:
    """A paho client whose connections and messages can be waited for."""

    def __init__(self, name: str, *, clean: bool = True) -> None:
        self.paho = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=name,
            clean_session=clean,
            reconnect_on_failure=False,
        )
        self.connected: queue.Queue[bool] = queue.Queue()
        self.messages: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self.subscribed: queue.Queue[int] = queue.Queue()
        self.disconnected: queue.Queue[str] = queue.Queue()
        self.paho.on_connect = lambda _c, _u, flags, reason, _p: self.connected.put(
            not reason.is_failure and flags.session_present
        )
        self.paho.on_message = lambda _c, _u, m: self.messages.put((m.topic, bytes(m.payload)))
        self.paho.on_disconnect = lambda _c, _u, _f, reason, _p: self.disconnected.put(str(reason))
        self.paho.on_subscribe = lambda _c, _u, mid, _r, _p: self.subscribed.put(mid)

    def connect(self, broker: Broker, keepalive_s: int = 5) -> bool:
        """Connects and returns whether the broker remembered this client."""
        self.begin(broker, keepalive_s)
        return self.connected.get(timeout=WAIT_S)

    def begin(self, broker: Broker, keepalive_s: int = 5) -> None:
        """Asks for a connection and does not wait for the answer."""
        self.paho.connect(broker.host, broker.port, keepalive_s)
        self.paho.loop_start()

    def subscribe(self, topic: str) -> None:
        self.paho.subscribe(topic, qos=1)
        self.subscribed.get(timeout=WAIT_S)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        self.paho.publish(topic, payload, qos=1, retain=retain).wait_for_publish(WAIT_S)

    def next(self, timeout_s: float = WAIT_S) -> tuple[str, bytes]:
        return self.messages.get(timeout=timeout_s)

    def vanish(self) -> None:
        """Drops the connection without a goodbye."""
        self.paho.loop_stop()
        sock = self.paho.socket()
        assert sock is not None
        sock.close()

    def close(self) -> None:
        self.paho.disconnect()
        self.paho.loop_stop()


@pytest.fixture
def client() -> Iterator[Callable[..., Client]]:
    made: list[Client] = []

    def make(
        name: str, *, clean: bool = True, who: tuple[Authority, Credentials] | None = None
    ) -> Client:
        one = Client(name, clean=clean)
        if who is not None:
            authority, own = who
            one.paho.tls_set(
                str(authority.certificate),
                str(own.certificate),
                str(own.key),
                tls_version=ssl.PROTOCOL_TLS_CLIENT,
            )
        made.append(one)
        return one

    yield make
    for one in made:
        one.close()


def test_a_message_arrives(mosquitto: Broker, client: Callable[..., Client]) -> None:
    reader, writer = client("reader"), client("writer")
    reader.connect(mosquitto)
    reader.subscribe("a/#")
    writer.connect(mosquitto)
    writer.publish("a/b", b"hello")
    assert reader.next() == ("a/b", b"hello")


def test_the_last_will_is_published_when_a_client_vanishes(
    mosquitto: Broker, client: Callable[..., Client]
) -> None:
    watcher, device = client("watcher"), client("device")
    watcher.connect(mosquitto)
    watcher.subscribe("state")
    device.paho.will_set("state", b"offline", qos=1, retain=True)
    device.connect(mosquitto)
    device.vanish()
    assert watcher.next() == ("state", b"offline")


def test_retained_and_queued_messages_survive_a_kill(
    mosquitto: Broker, client: Callable[..., Client]
) -> None:
    device, writer = client("device", clean=False), client("writer")
    assert not device.connect(mosquitto)
    device.subscribe("cmd")
    device.close()
    writer.connect(mosquitto)
    writer.publish("cmd", b"one")
    writer.publish("kept", b"two", retain=True)
    saved = mosquitto.folder / "data/mosquitto.db"  # written after the acknowledgement
    until(lambda: saved.exists() and b"two" in saved.read_bytes(), 30, "it is saved")

    mosquitto.kill()
    assert not mosquitto.running
    mosquitto.start()

    again, late = client("device", clean=False), client("late")
    assert again.connect(mosquitto)
    assert again.next() == ("cmd", b"one")
    late.connect(mosquitto)
    late.subscribe("kept")
    assert late.next() == ("kept", b"two")


def test_a_restart_keeps_the_port(mosquitto: Broker, client: Callable[..., Client]) -> None:
    port = mosquitto.port
    mosquitto.restart()
    assert mosquitto.port == port
    assert not client("anyone").connect(mosquitto)


def test_a_device_is_its_certificate_and_speaks_for_itself_only(
    tls_mosquitto: Broker, authority: Authority, client: Callable[..., Client]
) -> None:
    backend = client("", who=(authority, authority.client("backend")))
    backend.connect(tls_mosquitto)
    backend.subscribe("vigil/1/#")
    device = client("", who=(authority, authority.client("dev-1")))
    device.connect(tls_mosquitto)
    device.publish("vigil/1/d/dev-2/state", b"spoofed")
    device.publish("vigil/1/d/dev-1/state", b"mine")
    assert backend.next() == ("vigil/1/d/dev-1/state", b"mine")


def test_a_client_without_a_good_certificate_never_gets_in(
    tls_mosquitto: Broker, authority: Authority, client: Callable[..., Client]
) -> None:
    revoked = authority.client("dev-3")
    authority.revoke(revoked)
    tls_mosquitto.restart()
    intruder = client("", who=(authority, revoked))
    intruder.begin(tls_mosquitto)  # TLS 1.3 tells a client late: the handshake itself looks fine
    assert intruder.disconnected.get(timeout=WAIT_S)
    assert intruder.connected.empty()
