"""Request channels: a request topic and a response topic of this device, as one thing to send and receive on."""

from __future__ import annotations

import logging
import queue
from typing import Protocol

from agent.control.link.traffic import Incoming, Subscription, Ticket
from agent.errors import TransferError

logger = logging.getLogger(__name__)

# Twice the window of the block protocol and some more: an honest server never fills it.
CAPACITY = 64


class Carrier(Protocol):
    """What a channel needs of the link."""

    @property
    def connected(self) -> bool:
        """Whether messages are taken now."""

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> Ticket:
        """Send one message."""

    def subscribe(self, subscription: Subscription) -> None:
        """Subscribe now and after every reconnect."""


class RequestChannel:
    """One request/response topic pair; requests and responses travel at QoS 0, whoever waits asks again.

    Attributes:
        generation: Rises whenever the broker has confirmed the subscription: responses to earlier
            requests may be lost, so ask again.
    """

    def __init__(self, carrier: Carrier, request_topic: str, response_topic: str) -> None:
        self.generation = 0
        self._carrier = carrier
        self._request_topic = request_topic
        self._responses: queue.Queue[bytes] = queue.Queue(CAPACITY)
        carrier.subscribe(Subscription(response_topic, self._take, self._renew, qos=0))

    def send(self, body: bytes) -> None:
        """Send one request.

        Raises:
            TransferError: `transfer.offline` or `transfer.too_large`.
        """
        if not self._carrier.connected:
            raise TransferError(f"{self._request_topic}: no broker", code="transfer.offline")
        self._carrier.publish(self._request_topic, body, qos=0)

    def receive(self, timeout_s: float) -> bytes | None:
        """Return the next response, None when there is none within `timeout_s` seconds."""
        try:
            return self._responses.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def _take(self, message: Incoming) -> None:
        try:
            self._responses.put_nowait(message.payload)
        except queue.Full:
            logger.warning("%s: more responses than requests, one dropped", message.topic)

    def _renew(self) -> None:
        self.generation += 1
