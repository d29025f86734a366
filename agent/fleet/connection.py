"""The controller's connection to the broker: MQTT 5 where the broker speaks it, else 3.1.1."""

from __future__ import annotations

import logging
import secrets
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from agent.errors import ConfigError, TransferError
from agent.schema.config import BrokerConfig, TlsConfig

log = logging.getLogger(__name__)

_VERSIONS = {
    "auto": (MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311),
    "5": (MQTTProtocolVersion.MQTTv5,),
    "3.1.1": (MQTTProtocolVersion.MQTTv311,),
}
_RETRY_S = (1, 30)

Receive = Callable[[str, bytes], None]


class Connection:
    """Stays connected and subscribed until it is closed.

    Args:
        broker: Where, and with which certificate.
        filters: Topic filters to subscribe to, with their QoS, at every connection.
        receive: Called with topic and payload in the network thread.
        name: Common name of our certificate; brokers may insist that the client id begins with it.
    """

    def __init__(
        self,
        broker: BrokerConfig,
        filters: Sequence[tuple[str, int]],
        receive: Receive,
        name: str,
    ) -> None:
        self._broker = broker
        self._name = name
        self._filters = list(filters)
        self._receive = receive
        self._subscribed = threading.Event()
        self._refused = threading.Event()
        self._reason = ""
        self._client: paho.Client | None = None

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
        if client is not None:
            client.disconnect()
            client.loop_stop()

    def _try(self, version: MQTTProtocolVersion, timeout_s: float) -> bool:
        self._refused.clear()
        client = self._new_client(version)
        try:
            client.connect(self._broker.host, self._broker.port, self._broker.keepalive_s)
        except OSError as error:
            self._reason = str(error)
            return False
        client.loop_start()
        self._client = client
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

    def _new_client(self, version: MQTTProtocolVersion) -> paho.Client:
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"{self._name}-{secrets.token_hex(4)}",
            protocol=version,
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
            client.subscribe(self._filters)

    def _on_subscribe(self, _client: Any, _data: Any, _mid: int, codes: Any, _p: Any) -> None:
        if any(code.is_failure for code in codes):
            self._refuse("the broker forbids the controller's subscriptions")
        else:
            self._subscribed.set()

    def _on_disconnect(self, _client: Any, _data: Any, _flags: Any, reason: Any, _p: Any) -> None:
        if self._subscribed.is_set():
            log.warning("broker connection lost: %s", reason)
        else:
            self._refuse(f"connection closed: {reason}")
        self._subscribed.clear()

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        self._receive(message.topic, bytes(message.payload))

    def _refuse(self, reason: str) -> None:
        self._reason = reason
        self._refused.set()


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


def _no_delay(_client: Any, _data: Any, connection: Any) -> None:
    # Without it small blocks wait for acknowledgements and a transfer crawls.
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
