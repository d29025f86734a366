"""The link to the broker: one thread that connects, reconnects for ever, publishes and subscribes.

Rules
- A broker that is away at start is no error, and no fault ends the thread but a bug.
- A message is taken only while connected; what is not acknowledged is its sender's to repeat (the
  outbox does). Oversized ones are refused: sending them would end the connection, again and again.
- A broker that answers nothing is left; a ticket is therefore settled sooner or later, always.
- A replaced certificate takes a new connection, made when all that was sent is acknowledged.
- The broker keeps the session for a day, the longest life of a command.
- The last will is the offline presence; the online one is sent after every connect.

    link = Link(config.broker, DeviceTopics("dev-1"), presence=presence)
    link.subscribe(Subscription(topics.command, commander.receive))
    link.start()
    link.publish(topics.reply, body).wait(5.0)
    link.stop(2.0)
"""

from __future__ import annotations

import collections
import contextlib
import logging
import os
import random
import threading
import time
import weakref
from typing import TYPE_CHECKING

from agent.control.link.answers import RoundTrips
from agent.control.link.channels import RequestChannel
from agent.control.link.dialling import Ending, check_address, first_dial
from agent.control.link.rivals import FIND_THE_COPY, Rivals
from agent.control.link.session import MAX_PACKET_BYTES, Ended, Session, Setup
from agent.control.link.tls import Credentials
from agent.control.link.traffic import Incoming, Outgoing, Presence, Subscription, Ticket
from agent.errors import TransferError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.schema.config import BrokerConfig
    from agent.schema.measures import LinkQuality
    from agent.schema.topics import DeviceTopics

logger = logging.getLogger(__name__)

SESSION_S = 24 * 3600
QUEUE_MESSAGES = 1000
FAREWELL_S = 2.0
_TURN_S = 0.25
_LOOK_S = 1.0


class Link:
    """A connection to one broker under one client id.

    Args:
        broker: Where, and how securely.
        topics: Topics of this device; its id is the client id unless `client_id` is given.
        presence: The retained message that says whether the device is there; None for a second link.
        session_s: How long the broker keeps subscriptions and queued commands, seconds; 0 for not.

    Raises:
        ConfigError: Address, prefix, protocol or TLS files that cannot work, or plaintext that is not allowed.
    """

    def __init__(
        self,
        broker: BrokerConfig,
        topics: DeviceTopics,
        *,
        client_id: str = "",
        presence: Presence | None = None,
        session_s: int = SESSION_S,
    ) -> None:
        self.connected = False
        self.connections = 0
        self.problem = ""
        self.protocol = ""
        check_address(broker, topics)
        self._topics = topics
        self._credentials = Credentials(broker)
        self._looked_s = time.monotonic()
        self._setup = Setup(broker, client_id or topics.device, presence, session_s)
        self._dial = first_dial(broker.protocol)
        self._rivals = Rivals()
        self._subscriptions: dict[str, Subscription] = {}
        self._queue: collections.deque[Outgoing] = collections.deque()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._farewell_s = FAREWELL_S
        self.max_packet_bytes = MAX_PACKET_BYTES
        self._refusals: Mapping[str, str] = {}
        self._trips = RoundTrips()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        weakref.finalize(self, os.close, self._wake)
        self._thread: threading.Thread | None = None

    @property
    def reconnects(self) -> int:
        """Number of connections after the first."""
        return max(0, self.connections - 1)

    @property
    def description(self) -> str:
        """How the link is, for people."""
        standing = f"connected by MQTT {self.protocol}" if self.connected else self.problem
        refused = self.refusals.items() if self.connected else ()
        notes = [f"may not subscribe to {topic}: {why}" for topic, why in refused]
        rival = self._rivals.told(time.monotonic())
        return "; ".join(filter(None, [standing or "connecting", *notes, rival]))

    @property
    def refusals(self) -> dict[str, str]:
        """Why the broker does not let this device subscribe, by topic; it is asked again."""
        return dict(self._refusals)

    @property
    def acknowledged(self) -> int:
        """How many messages the broker acknowledged so far."""
        return self._trips.count

    @property
    def quality(self) -> LinkQuality:
        """Protocol, reconnects and round trips."""
        return self._trips.quality(self.reconnects, self.protocol)

    def start(self) -> None:
        """Start a thread of its own for `run`; returns at once."""
        name = f"vigil-link-{self._setup.client_id}"
        self._thread = threading.Thread(target=self.run, args=(self._stop,), name=name, daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = FAREWELL_S) -> None:
        """End the thread of `start` as `run` describes it, within `timeout_s` seconds."""
        self._farewell_s = timeout_s
        self._stop.set()
        self._stir()
        if self._thread is not None:
            self._thread.join(timeout_s + 1.0)

    def run(self, stop: threading.Event) -> None:
        """Stay connected until `stop`; then send what waits and the offline presence, and disconnect.

        Connecting may take CONNECT_TIMEOUT_S + CONNACK_TIMEOUT_S without a look at `stop`.
        """
        while not stop.is_set():
            ending = self._connection(stop)
            if ending is None:
                continue
            ended, lasted_s = ending
            self._dial = self._dial.ended(ended.ending, lasted_s)
            is_news = self._rivals.ended(ended.ending, lasted_s, time.monotonic())
            if not stop.is_set():
                self._report(ended)
                if is_news:
                    logger.warning("%s; %s", self.description, FIND_THE_COPY)
                self._pause(stop, self._dial.wait_s(ended.ending, random.random()))  # noqa: S311

    def subscribe(self, subscription: Subscription) -> None:
        """Subscribe now and after every reconnect."""
        with self._lock:
            self._subscriptions = {**self._subscriptions, subscription.topic: subscription}
        self._stir()

    def channel(self, name: str) -> RequestChannel:
        """Return the request channel `blk`, `key` or `crt` of this device."""
        request, response = self._topics.leaf(f"{name}/req"), self._topics.leaf(f"{name}/rsp")
        return RequestChannel(self, request, response)

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> Ticket:
        """Hand a message to the network thread; while offline the ticket is settled as not acknowledged.

        Raises:
            TransferError: `transfer.too_large`: it would exceed what the broker takes.
        """
        message = Outgoing(topic, payload, qos, retain)
        if message.packet_bytes > self.max_packet_bytes:
            raise TransferError(
                f"message for {topic}: {message.packet_bytes} bytes, "
                f"the broker takes {self.max_packet_bytes}",
                code="transfer.too_large",
                hint="raise the broker's max_packet_size",
            )
        with self._lock:
            accepted = self.connected and len(self._queue) < QUEUE_MESSAGES
            if accepted:
                self._queue.append(message)
        if accepted:
            self._stir()
        else:
            message.ticket.settle(acked=False)
        return message.ticket

    def _connection(self, stop: threading.Event) -> tuple[Ended, float] | None:
        """Live through one connection; return how it ended and how long it lasted, seconds.

        None means that it was left for a new certificate.
        """
        self._credentials.renew()
        setup, protocol = self._setup, self._dial.protocol
        session = Session(
            setup, self._credentials.context, protocol, self._deliver, self._trips.add
        )
        accepted_s = time.monotonic()
        try:
            session.connect()
            accepted_s = time.monotonic()
            self._welcome(session)
            while not stop.is_set():
                self._turn(session, _TURN_S)
                if self._certificate_is_new():
                    self._leave(session)
                    return None
            self._farewell(session, time.monotonic() + self._farewell_s)
        except Ended as ended:
            return ended, time.monotonic() - accepted_s if session.accepted else 0.0
        finally:
            self._close(session)
        return Ended(Ending.LOST, "stopped"), 0.0

    def _welcome(self, session: Session) -> None:
        session.subscribe(list(self._subscriptions.values()))
        presence = self._setup.presence
        if presence is not None:
            session.send(Outgoing(presence.topic, presence.online(), 1, retain=True))
        self._dial = self._dial.accepted()
        self.max_packet_bytes = session.max_packet_bytes
        self._refusals = session.refusals
        self.protocol = self._dial.protocol.value
        self.problem = ""
        self.connections += 1
        with self._lock:
            self.connected = True
        logger.info("connected to %s by MQTT %s", self._setup.broker.host, self.protocol)

    def _turn(self, session: Session, timeout_s: float) -> None:
        session.subscribe(list(self._subscriptions.values()))
        while self._queue and session.ready:
            session.send(self._queue.popleft())
        session.turn(self._wake, timeout_s)

    def _certificate_is_new(self) -> bool:
        now_s = time.monotonic()
        if now_s - self._looked_s < _LOOK_S:
            return False
        self._looked_s = now_s
        return self._credentials.renew()

    def _leave(self, session: Session) -> None:
        """Take no more messages, wait for what is in flight, and say goodbye without a word of the state."""
        logger.info("the certificate was replaced: connecting anew")
        with self._lock:
            self.connected = False
        deadline_s = time.monotonic() + FAREWELL_S
        while not session.idle and time.monotonic() < deadline_s:
            session.turn(self._wake, 0.05)
        session.disconnect()

    def _farewell(self, session: Session, deadline_s: float) -> None:
        while self._queue and time.monotonic() < deadline_s:
            self._turn(session, 0.05)
        presence = self._setup.presence
        if presence is not None:
            session.send(Outgoing(presence.topic, presence.offline, 1, retain=True))
        while not session.idle and time.monotonic() < deadline_s:
            session.turn(self._wake, 0.05)
        session.disconnect()

    def _close(self, session: Session) -> None:
        session.close()
        with self._lock:
            self.connected = False
            waiting, self._queue = self._queue, collections.deque()
        for message in waiting:
            message.ticket.settle(acked=False)

    def _deliver(self, message: Incoming) -> None:
        # A kept session may still hold subscriptions of an older configuration.
        subscription = self._subscriptions.get(message.topic)
        if subscription is not None:
            subscription.handler(message)

    def _report(self, ended: Ended) -> None:
        self.problem = str(ended)
        level = logging.WARNING if self._dial.failures == 1 else logging.DEBUG
        broker = self._setup.broker
        logger.log(level, "broker %s:%d: %s", broker.host, broker.port, self.problem)

    def _pause(self, stop: threading.Event, wait_s: float) -> None:
        deadline_s = time.monotonic() + wait_s
        while (left_s := deadline_s - time.monotonic()) > 0 and not stop.wait(min(left_s, 1.0)):
            pass

    def _stir(self) -> None:
        # The counter of an eventfd that nobody reads is full only after 2**64 messages.
        with contextlib.suppress(BlockingIOError):
            os.eventfd_write(self._wake, 1)
