"""One connection to the broker, from the TCP socket to its end; the only module of the agent that knows paho.

Every connection gets a fresh paho client, so nothing unacknowledged is resent behind our back, and one
thread alone uses it, so there is nothing to lock.
"""

from __future__ import annotations

import itertools
import logging
import math
import os
import select
import socket
import ssl
import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from paho.mqtt import MQTTException
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agent.control.link.answers import Answers
from agent.control.link.dialling import Ending, Mqtt, refusal_pauses_s
from agent.control.link.traffic import Incoming, Outgoing, Presence, Subscription, Ticket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from paho.mqtt.client import DisconnectFlags
    from paho.mqtt.reasoncodes import ReasonCode

    from agent.schema.config import BrokerConfig

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 10.0
CONNACK_TIMEOUT_S = 5.0
MAX_PACKET_BYTES = 128 * 1024
MAX_INCOMING_BYTES = 320 * 1024
# Unacknowledged QoS 1 messages; fewer than brokers allow by themselves (mosquitto: 20).
WINDOW = 16
_TAKEN_OVER, _UNSUPPORTED, _UNSPECIFIED = 142, 132, 128
# What paho lets through when a packet makes no sense or the socket breaks under it.
_BROKEN = (MQTTException, OSError, ValueError, IndexError, KeyError, struct.error)


class Ended(Exception):  # noqa: N818 - not every ending is an error
    """The connection, or the attempt at one, is over."""

    def __init__(self, ending: Ending, reason: str = "") -> None:
        super().__init__(f"{ending.value}: {reason}" if reason else ending.value)
        self.ending = ending


@dataclass(frozen=True)
class Setup:
    """What every connection of one link has in common."""

    broker: BrokerConfig
    client_id: str
    presence: Presence | None
    session_s: int


class Session:
    """One connection, used by the network thread only; most methods raise `Ended`.

    Attributes:
        refusals: Why the broker does not let this device subscribe, by topic.
    """

    def __init__(
        self,
        setup: Setup,
        tls: ssl.SSLContext | None,
        protocol: Mqtt,
        deliver: Callable[[Incoming], None],
        took: Callable[[float], None],
    ) -> None:
        self.max_packet_bytes = MAX_PACKET_BYTES
        self.accepted = False
        self._setup = setup
        self._protocol = protocol
        self._deliver = deliver
        self._took = took
        self._ended: Ended | None = None
        self._complaint = ""
        self._window = WINDOW
        self.refusals: dict[str, str] = {}
        self._flying: dict[int, Ticket] = {}
        self._asked: dict[int, list[Subscription]] = {}
        self._due_s: dict[str, float] = {}
        self._pauses_s: dict[str, Iterator[float]] = {}
        self._answers = Answers()
        self._client = self._new_client()
        if tls is not None:
            self._client.tls_set_context(tls)

    def connect(self) -> None:
        """Open the socket, shake hands and wait for the CONNACK."""
        broker = self._setup.broker
        options: dict[str, Any] = {}
        if self._protocol is Mqtt.V5:
            options = {"clean_start": not self._setup.session_s, "properties": self._properties()}
        try:
            self._client.connect(broker.host, broker.port, broker.keepalive_s, **options)
        except ssl.SSLError as error:
            raise Ended(Ending.UNTRUSTED, str(error)) from error
        except (OSError, ValueError) as error:
            raise Ended(Ending.UNREACHABLE, str(error)) from error
        deadline_s = time.monotonic() + CONNACK_TIMEOUT_S
        while not self.accepted:
            if time.monotonic() > deadline_s:
                raise Ended(Ending.SILENT)
            self.turn(None, 0.1)

    def turn(self, wake: int | None, timeout_s: float) -> None:
        """Wait for the socket or for `wake` (an eventfd), then read, write and keep alive."""
        sock = self._open_socket()
        poll = select.poll()
        poll.register(sock, select.POLLIN | (select.POLLOUT if self._client.want_write() else 0))
        if wake is not None:
            poll.register(wake, select.POLLIN)
        # Bytes that TLS has already decrypted do not show up in poll.
        pending = isinstance(sock, ssl.SSLSocket) and sock.pending() > 0
        ready = dict(poll.poll(0 if pending else timeout_s * 1000))
        if wake in ready:
            os.eventfd_read(wake)
        events = ready.get(sock.fileno(), 0)
        try:
            if pending or events & ~select.POLLOUT:
                self._client.loop_read()
            if events & select.POLLOUT:
                self._client.loop_write()
            self._client.loop_misc()
        except _BROKEN as error:
            ending = Ending.LOST if self.accepted else Ending.CLOSED
            raise Ended(ending, f"broken packet or socket: {error}") from error
        self._open_socket()
        if self._answers.overdue:
            raise Ended(Ending.MUTE)

    @property
    def ready(self) -> bool:
        """Whether there is room for another message."""
        return len(self._flying) < self._window and not self._client.want_write()

    @property
    def idle(self) -> bool:
        """Whether all that was sent was also acknowledged."""
        return not self._flying and not self._client.want_write()

    def send(self, message: Outgoing) -> None:
        """Publish one message."""
        info = self._client.publish(message.topic, message.payload, message.qos, message.retain)
        if message.qos and info.rc == paho.MQTT_ERR_SUCCESS:
            self._flying[info.mid] = message.ticket
            self._answers.expect(info.mid)
        else:
            message.ticket.settle(acked=info.rc == paho.MQTT_ERR_SUCCESS)

    def subscribe(self, wanted: Sequence[Subscription]) -> None:
        """Subscribe to what this connection has not asked for yet, and again to what was refused."""
        now_s = time.monotonic()
        missing = [one for one in wanted if self._is_due(one.topic, now_s)]
        if missing:
            _, mid = self._client.subscribe([(one.topic, one.qos) for one in missing])
            self._due_s.update((one.topic, math.inf) for one in missing)
            if mid is not None:
                self._asked[mid] = missing
                self._answers.expect(mid)

    def disconnect(self) -> None:
        """Say goodbye, which keeps the broker from sending the last will."""
        self._client.disconnect()

    def close(self) -> None:
        """Close the socket and settle what was in flight as not acknowledged."""
        if (sock := self._client.socket()) is not None:
            sock.close()
        for ticket in self._flying.values():
            ticket.settle(acked=False)
        self._flying.clear()

    def _is_due(self, topic: str, now_s: float) -> bool:
        return now_s > self._due_s.get(topic, 0.0)

    def _new_client(self) -> paho.Client:
        setup, version_5 = self._setup, self._protocol is Mqtt.V5
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=setup.client_id,
            clean_session=None if version_5 else not setup.session_s,
            protocol=paho.MQTTv5 if version_5 else paho.MQTTv311,
            reconnect_on_failure=False,
        )
        client.connect_timeout = CONNECT_TIMEOUT_S
        if setup.presence is not None:
            client.will_set(setup.presence.topic, setup.presence.offline, qos=1, retain=True)
        client.on_socket_open = _without_delay
        client.on_log = self._on_log
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        return client

    def _properties(self) -> Properties:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = self._setup.session_s
        properties.MaximumPacketSize = MAX_INCOMING_BYTES
        return properties

    def _open_socket(self) -> paho.SocketLike:
        sock = self._client.socket()
        if self._ended is not None:
            raise self._ended
        if sock is None:
            raise Ended(Ending.LOST if self.accepted else Ending.CLOSED, self._complaint)
        return sock

    def _on_log(self, _client: Any, _user: Any, level: int, text: str) -> None:
        if level == paho.MQTT_LOG_ERR:
            self._complaint = text

    def _on_connect(
        self,
        _client: Any,
        _user: Any,
        _flags: Any,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            unsupported = reason.value == _UNSUPPORTED
            ending = Ending.UNSUPPORTED if unsupported else Ending.REFUSED
            self._ended = Ended(ending, str(reason))
            return
        limit = getattr(properties, "MaximumPacketSize", MAX_PACKET_BYTES)
        self.max_packet_bytes = min(MAX_PACKET_BYTES, limit)
        self._window = min(WINDOW, getattr(properties, "ReceiveMaximum", WINDOW))
        self.accepted = True

    def _on_disconnect(
        self, _client: Any, _user: Any, flags: DisconnectFlags, reason: ReasonCode, _properties: Any
    ) -> None:
        # Of a socket that was just closed, paho says "Unspecified error".
        is_told = flags.is_disconnect_packet_from_server or reason.value != _UNSPECIFIED
        said = self._complaint or (str(reason) if is_told else "")
        ending = Ending.LOST if said else Ending.DROPPED
        ending = ending if self.accepted else Ending.CLOSED
        ending = Ending.TAKEN_OVER if reason.value == _TAKEN_OVER else ending
        self._ended = self._ended or Ended(ending, said)

    def _on_subscribe(
        self, _client: Any, _user: Any, mid: int, reasons: list[ReasonCode], _properties: Any
    ) -> None:
        self._answers.came(mid)
        answers = itertools.zip_longest(self._asked.pop(mid, []), reasons)
        for subscription, reason in answers:
            if subscription is None:
                return
            if reason is not None and not reason.is_failure:
                self.refusals.pop(subscription.topic, None)
                subscription.ready()
            else:
                self._refused(subscription.topic, str(reason or "no answer"))

    def _refused(self, topic: str, reason: str) -> None:
        if topic not in self.refusals:
            logger.error("broker refuses subscription to %s: %s", topic, reason)
        self.refusals[topic] = reason
        pauses_s = self._pauses_s.setdefault(topic, refusal_pauses_s())
        self._due_s[topic] = time.monotonic() + next(pauses_s)

    def _on_publish(
        self, _client: Any, _user: Any, mid: int, reason: ReasonCode, _properties: Any
    ) -> None:
        if (ticket := self._flying.pop(mid, None)) is not None:
            self._took(self._answers.came(mid) or 0.0)
            refused = str(reason) if reason.is_failure else ""
            ticket.settle(acked=not refused, refused=refused)

    def _on_message(self, _client: Any, _user: Any, message: paho.MQTTMessage) -> None:
        self._deliver(Incoming(message.topic, bytes(message.payload), bool(message.retain)))


def _without_delay(_client: Any, _user: Any, sock: Any) -> None:
    # Neither paho nor mosquitto asks for it; without, small blocks wait for delayed ACKs.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
