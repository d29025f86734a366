"""The controller's connection to the broker: MQTT 5 where the broker speaks it, else 3.1.1.

With a session of its own the broker keeps what devices say while the controller is away, so that nothing of QoS 1 is
lost. Desks connect without, and so do controllers that share the requests: the broker would go on giving one that died
its part of them.
"""

from __future__ import annotations

import functools
import logging
import secrets
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agent.errors import ConfigError, TransferError
from agent.fleet.inbox import Acknowledge
from agent.schema.config import BrokerConfig, TlsConfig

log = logging.getLogger(__name__)

_VERSIONS = {
    "auto": (MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311),
    "5": (MQTTProtocolVersion.MQTTv5,),
    "3.1.1": (MQTTProtocolVersion.MQTTv311,),
}
_RETRY_S = (1, 30)
_ASK_AGAIN_S = 5.0
_SESSION_S = 24 * 3600
_UNSPECIFIED, _TAKEN_OVER = 128, 142

Receive = Callable[[str, bytes, Acknowledge], None]


class Connection:
    """Stays connected and subscribed until it is closed.

    Args:
        broker: Where, and with which certificate.
        filters: Topic filters to subscribe to, with their QoS, at every connection.
        receive: Called with topic, payload and what acknowledges the message to the broker, in the network thread. What
            is never acknowledged comes again at the session's next connection.
        name: Common name of our certificate; brokers may insist that the client id begins with it.
        session: File that holds the session's id; none is kept without it.
        begun: Called in the network thread at every connection, once we are subscribed.
    """

    def __init__(
        self,
        broker: BrokerConfig,
        filters: Sequence[tuple[str, int]],
        receive: Receive,
        name: str,
        session: Path | None = None,
        begun: Callable[[], None] = lambda: None,
    ) -> None:
        self._broker = broker
        self._session = session is not None
        kept = secrets.token_hex(4) if session is None else _session_id(session)
        self._client_id = f"{name}-{kept}"
        self._filters = list(filters)
        self._receive = receive
        self._begun = begun
        self._subscribed = threading.Event()
        self._refused = threading.Event()
        self._reason = ""
        self._client: paho.Client | None = None
        self._asking: threading.Timer | None = None
        self._number = 0  # of the connection, from the first on

    def open(self, timeout_s: float) -> None:
        """Connect and subscribe; later losses are repaired without being asked.

        Raises:
            TransferError: The broker cannot be reached or refuses us.
            ConfigError: The certificate files cannot be used.
        """
        for version in _VERSIONS[self._broker.protocol]:
            if self._try(version, timeout_s):
                return
        place = f"{self._broker.host}:{self._broker.port}"
        message = f"broker {place}: {self._reason or f'no answer within {timeout_s:.0f} s'}"
        raise TransferError(message, code="transfer.broker", hint="is the broker running there?")

    def publish(self, topic: str, payload: bytes, qos: int = 1, *, retain: bool = False) -> None:
        """Send a message; while offline QoS 1 is kept for the next connection, QoS 0 is lost."""
        if self._client is not None:
            self._client.publish(topic, payload, qos, retain)

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted our subscriptions and nothing broke since."""
        return self._subscribed.is_set()

    def close(self) -> None:
        """Disconnect; idempotent."""
        client, self._client = self._client, None
        self._subscribed.clear()
        self._stop_asking()
        if client is not None:
            client.disconnect()
            client.loop_stop()

    def _try(self, version: MQTTProtocolVersion, timeout_s: float) -> bool:
        self._refused.clear()
        client = self._new_client(version)
        try:
            client.connect(
                self._broker.host,
                self._broker.port,
                self._broker.keepalive_s,
                clean_start=self._clean_start(version),
                properties=self._properties(version),
            )
        except OSError as error:
            self._reason = error.strerror or str(error)
            return False
        self._client = client
        client.loop_start()
        if self._await_subscription(timeout_s):
            return True
        self.close()
        return False

    def _await_subscription(self, timeout_s: float) -> bool:
        step_s = 0.05
        for _ in range(int(timeout_s / step_s)):
            if self._subscribed.wait(step_s):
                return True
            if self._refused.is_set():
                return False
        return False

    def _clean_start(self, version: MQTTProtocolVersion) -> bool | Literal[3]:
        if version is MQTTProtocolVersion.MQTTv5:
            return not self._session
        return paho.MQTT_CLEAN_START_FIRST_ONLY  # the client's own clean_session decides

    def _properties(self, version: MQTTProtocolVersion) -> Properties | None:
        # amqtt hangs on properties, while it hangs up on version 5 without any.
        if version is not MQTTProtocolVersion.MQTTv5 or not self._session:
            return None
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = _SESSION_S
        return properties

    def _new_client(self, version: MQTTProtocolVersion) -> paho.Client:
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            protocol=version,
            manual_ack=True,
            clean_session=None if version is MQTTProtocolVersion.MQTTv5 else not self._session,
        )
        if self._broker.tls is not None:
            client.tls_set_context(client_context(self._broker.tls))
        client.reconnect_delay_set(*_RETRY_S)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_socket_open = _no_delay
        return client

    def _on_connect(
        self, client: paho.Client, _data: Any, _flags: Any, reason: Any, _p: Any
    ) -> None:
        if reason.is_failure:
            self._refuse(f"connection refused: {reason}")
        else:
            self._number += 1
            self._ask(client)

    def _ask(self, client: paho.Client) -> None:
        """Subscribe, and again until all is granted: a cluster refuses while it elects its leaders."""
        client.subscribe(self._filters)
        self._stop_asking()
        self._asking = threading.Timer(_ASK_AGAIN_S, self._ask_again, [client])
        self._asking.daemon = True
        self._asking.start()

    def _ask_again(self, client: paho.Client) -> None:
        if client is self._client and client.is_connected() and not self.connected:
            log.warning("not subscribed: %s; asking again", self._reason or "the broker is silent")
            self._ask(client)

    def _stop_asking(self) -> None:
        if self._asking is not None:
            self._asking.cancel()

    def _on_subscribe(self, _client: Any, _data: Any, _mid: int, codes: Any, _p: Any) -> None:
        if any(code.is_failure for code in codes):
            self._refuse("the broker forbids the controller's subscriptions")
            return
        self._stop_asking()
        self._subscribed.set()
        if self._number > 1:
            log.info("connected to the broker again")
        self._begun()

    def _on_disconnect(self, _client: Any, _data: Any, flags: Any, reason: Any, _p: Any) -> None:
        why = _explain(reason, is_told=flags.is_disconnect_packet_from_server)
        if self._subscribed.is_set():
            place = f"{self._broker.host}:{self._broker.port}"
            log.warning("broker connection lost: %s; connecting to %s again", why, place)
        else:
            self._refuse(f"connection closed: {why}")
        self._subscribed.clear()

    def _on_message(self, client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        acknowledge = functools.partial(
            self._acknowledge, client, self._number, message.mid, message.qos
        )
        self._receive(message.topic, bytes(message.payload), acknowledge)

    def _acknowledge(self, client: paho.Client, number: int, mid: int, qos: int) -> None:
        # On a later connection the same id may be that of another message.
        if number == self._number:
            client.ack(mid, qos)

    def _refuse(self, reason: str) -> None:
        self._reason = reason
        self._refused.set()


def _session_id(path: Path) -> str:
    """Return the id that is kept in `path`, which is made where it is missing."""
    try:
        with path.open("a+", encoding="ascii") as file:
            file.seek(0)
            kept = file.read(64)
            if not kept:
                kept = secrets.token_hex(4)
                file.write(kept)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    return kept


def client_context(tls: TlsConfig) -> ssl.SSLContext:
    """Return a TLS 1.3 context with our certificate that trusts only the fleet's authority.

    Raises:
        ConfigError: A file cannot be read or does not fit the others.
    """
    try:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=tls.ca)
        context.load_cert_chain(tls.cert, tls.key)
    except (OSError, ssl.SSLError) as error:
        message = f"broker.tls: {tls.ca}, {tls.cert}, {tls.key}: {error}"
        raise ConfigError(message, hint="check these three files") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def _explain(reason: Any, *, is_told: bool) -> str:
    """Return why a connection ended, with what to look at; what nobody told us paho calls an unspecified error."""
    if reason.value == _TAKEN_OVER:
        return "another client came under our name (does a second controller run?)"
    if not is_told and reason.value == _UNSPECIFIED:
        return "the broker gave no reason (does it still run?)"
    return str(reason)


def _no_delay(_client: Any, _data: Any, connection: Any) -> None:
    # Without it small blocks wait for acknowledgements and a transfer crawls.
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
