"""Looking at the broker once, without harm: connect, subscribe, publish, ask the block server, leave.

It takes the device's own client id, as brokers of a fleet demand, so it is only for while the agent does not run.
The kept session stays: nothing is acknowledged, so that queued commands are delivered again to the agent.
"""

from __future__ import annotations

import ssl
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agent.control.link.dialling import Mqtt
from agent.control.link.loop import SESSION_S
from agent.control.link.tls import client_context

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from paho.mqtt.reasoncodes import ReasonCode

    from agent.schema.config import BrokerConfig

_STEP_S = 0.1


@dataclass
class BrokerVisit:
    """What became of each step; reasons are the broker's own words, empty for success.

    Attributes:
        protocol: MQTT version that was spoken.
        refused: Why the broker does not take this device; `None`: it did not say.
        closed_topics: Topics that may not be subscribed to, with the reason.
        publish_refused: Why publishing is refused; MQTT 3.1.1 brokers never say.
        answered: Whether the block server answered.
    """

    protocol: str
    accepted: bool = False
    refused: str | None = None
    closed_topics: dict[str, str] = field(default_factory=dict)
    publish_refused: str = ""
    published: bool = False
    answered: bool = False


@dataclass(frozen=True)
class Errand:
    """What to try: topics to subscribe to, a request to publish, and where its answer comes."""

    topics: Sequence[str]
    request: tuple[str, bytes]
    answer: str


def visit(broker: BrokerConfig, device: str, errand: Errand, limit_s: float = 4.0) -> BrokerVisit:
    """Go through the steps with MQTT 5, or 3.1.1 where only that is spoken; each takes `limit_s` at most.

    Raises:
        ConfigError: TLS files that cannot work.
        OSError: The connection failed.
    """
    versions = [Mqtt(broker.protocol)] if broker.protocol != "auto" else [Mqtt.V5, Mqtt.V311]
    context = client_context(broker)
    seen = BrokerVisit("")
    for version in versions:
        seen = _Visitor(broker, device, context, version).run(errand, limit_s)
        if seen.accepted or seen.refused is not None:
            break
    return seen


class _Visitor:
    def __init__(
        self, broker: BrokerConfig, device: str, tls: ssl.SSLContext | None, version: Mqtt
    ) -> None:
        self._broker, self._seen = broker, BrokerVisit(version.value)
        self._is_5 = version is Mqtt.V5
        self._subscribed = False
        self._mid: int | None = None
        self._answer = ""
        self._topics: Sequence[str] = ()
        self._client = client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=device,
            clean_session=None if self._is_5 else False,
            protocol=paho.MQTTv5 if self._is_5 else paho.MQTTv311,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.connect_timeout = 5.0
        if tls is not None:
            client.tls_set_context(tls)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.on_message = self._on_message

    def run(self, errand: Errand, limit_s: float) -> BrokerVisit:
        options: dict[str, Any] = {}
        if self._is_5:
            kept = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            kept.SessionExpiryInterval = SESSION_S
            options = {"clean_start": False, "properties": kept}
        seen, self._answer, self._topics = self._seen, errand.answer, errand.topics
        self._client.connect(self._broker.host, self._broker.port, 30, **options)
        if self._until(lambda: seen.accepted or seen.refused is not None, limit_s):
            self._go_on(errand, limit_s)
        self._client.disconnect()
        return seen

    def _go_on(self, errand: Errand, limit_s: float) -> None:
        seen = self._seen
        if not seen.accepted:
            return
        self._client.subscribe([(topic, 1) for topic in errand.topics])
        self._until(lambda: self._subscribed, limit_s)
        self._mid = self._client.publish(*errand.request, qos=1).mid
        self._until(lambda: seen.published or bool(seen.publish_refused), limit_s)
        if seen.published:
            self._until(lambda: seen.answered, limit_s)

    def _until(self, condition: Callable[[], bool], limit_s: float) -> bool:
        deadline = time.monotonic() + limit_s
        while not condition() and time.monotonic() < deadline:
            if self._client.loop(_STEP_S) != paho.MQTT_ERR_SUCCESS:
                break
        return condition()

    def _on_connect(
        self, _client: Any, _user: Any, _flags: Any, reason: ReasonCode, _properties: Any
    ) -> None:
        if reason.is_failure:
            self._seen.refused = str(reason)
        else:
            self._seen.accepted = True

    def _on_subscribe(
        self, _client: Any, _user: Any, _mid: int, reasons: list[ReasonCode], _properties: Any
    ) -> None:
        self._subscribed = True
        for topic, reason in zip(self._topics, reasons, strict=False):
            if reason.is_failure:
                self._seen.closed_topics[topic] = str(reason)

    def _on_publish(
        self, _client: Any, _user: Any, mid: int, reason: ReasonCode, _properties: Any
    ) -> None:
        if mid != self._mid:
            return
        if reason.is_failure:
            self._seen.publish_refused = str(reason)
        else:
            self._seen.published = True

    def _on_message(self, _client: Any, _user: Any, message: paho.MQTTMessage) -> None:
        self._seen.answered = self._seen.answered or message.topic == self._answer
