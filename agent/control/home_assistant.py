"""Home Assistant: the device announced by MQTT discovery, with counts, pictures and the update's progress.

Off unless the operator turns it on. Rules
- Everything that Home Assistant shows is read-only, with one exception: where the operator allows local
  control, two buttons ask for a report and for pictures now. They only hasten what is sent anyway. What changes
  a device (restart, deploy, settings) takes a signed command: whoever may write to the broker must not be
  able to do it, and Home Assistant holds no signing key. The update entity therefore cannot install.
- Pictures leave the device only where the operator says so.
- A press comes at most every few seconds, is never taken from a retained message, and is recorded.

Discovery: https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery (device payload, since 2024.11).
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import msgspec

from agent.control.home_entities import BUTTONS, Facts, discovery_of, discovery_topic
from agent.control.link.traffic import Incoming, Subscription, Ticket
from agent.errors import VigilError
from agent.schema.document import to_json
from agent.schema.home_assistant import CameraCounts, UpdateProgress

if TYPE_CHECKING:
    from agent.schema.home_assistant import HomeAssistantConfig
    from agent.schema.topics import DeviceTopics

log = logging.getLogger(__name__)

OCCUPIED_S = 5.0
PRESS_S = 2.0
_TICK_S = 0.5
_EVERY_COUNT_S = 1.0


class Carrier(Protocol):
    """What is needed of the link."""

    @property
    def connections(self) -> int:
        """How often it has connected."""

    @property
    def connected(self) -> bool:
        """Whether messages are taken now."""

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> Ticket:
        """Send one message."""

    def subscribe(self, subscription: Subscription) -> None:
        """Subscribe now and after every reconnect."""


@dataclass(frozen=True)
class Ports:
    """What is asked of the rest of the agent.

    Attributes:
        facts: What there is to announce.
        update: How the update is.
        picture: A camera's newest picture, JPEG; raises `VigilError` without one.
        report: Sends state and measurements now.
        record: Writes an audit row.
    """

    facts: Callable[[], Facts]
    update: Callable[[], UpdateProgress]
    picture: Callable[[str], bytes]
    report: Callable[[], None]
    record: Callable[[str, str], object]


class Tallies:
    """Counts objects by camera and label; thread-safe. `now_s` is a monotonic clock."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._labels: dict[str, Counter[str]] = {}
        self._seen_s: dict[str, float] = {}
        self._lock = threading.Lock()

    def saw(self, camera: str, labels: Sequence[str]) -> None:
        """Take the labels of one frame."""
        with self._lock:
            self._labels[camera] = Counter(labels)
            if labels:
                self._seen_s[camera] = self._now_s()

    def of(self, camera: str) -> CameraCounts:
        """Return what is on a camera now."""
        with self._lock:
            labels = dict(sorted(self._labels.get(camera, Counter()).items()))
            seen_s = self._seen_s.get(camera)
        occupied = seen_s is not None and self._now_s() - seen_s <= OCCUPIED_S
        return CameraCounts(total=sum(labels.values()), occupied=occupied, labels=labels)


class HomeAssistant:
    """Keeps Home Assistant's view of this device current."""

    def __init__(
        self, config: HomeAssistantConfig, topics: DeviceTopics, link: Carrier, ports: Ports
    ) -> None:
        self.tallies = Tallies()
        self._config = config
        self._topics = topics
        self._link = link
        self._ports = ports
        self._presses: deque[str] = deque(maxlen=4)
        self._pressed_s = -PRESS_S
        self._pictured_s = 0.0
        self._sent: dict[str, bytes] = {}
        self._connection = 0
        if config.local_control:
            link.subscribe(Subscription(topics.ha_press, self._press))

    def run(self, stop: threading.Event) -> None:
        """Send what changed until `stop`."""
        while not stop.wait(_TICK_S):
            if self._link.connected:
                self._refresh()
            while self._presses:
                self._obey(self._presses.popleft())

    def _refresh(self) -> None:
        if self._link.connections != self._connection:
            self._connection = self._link.connections
            self._sent.clear()
        facts = self._ports.facts()
        discovery = discovery_of(self._topics, facts, self._config)
        self._send(discovery_topic(self._topics, self._config), msgspec.json.encode(discovery))
        self._send(self._topics.ha_update, msgspec.json.encode(self._ports.update()))
        for camera in facts.cameras:
            self._send(self._topics.ha_camera(camera), to_json(self.tallies.of(camera)))
        due = time.monotonic() - self._pictured_s >= self._config.picture_s
        if self._config.pictures and due:
            self._send_pictures(facts)

    def _send(self, topic: str, payload: bytes) -> None:
        if self._sent.get(topic) == payload:
            return
        self._sent[topic] = payload
        self._publish(topic, payload, retain=True)

    def _send_pictures(self, facts: Facts) -> None:
        self._pictured_s = time.monotonic()
        for camera in facts.cameras:
            try:
                picture = self._ports.picture(camera)
            except VigilError as error:
                log.debug("no picture of %s for Home Assistant: %s", camera, error)
                continue
            self._publish(self._topics.ha_picture(camera), picture)

    def _publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        try:
            self._link.publish(topic, payload, qos=int(retain), retain=retain)
        except VigilError as error:
            log.warning("Home Assistant does not get %s: %s", topic, error)

    def _press(self, message: Incoming) -> None:
        """Take a press, in the network's thread."""
        name = message.payload[:32].decode("ascii", "replace")
        now_s = time.monotonic()
        if message.retained or name not in BUTTONS or now_s - self._pressed_s < PRESS_S:
            log.warning("a press of %r is not obeyed", name)
            return
        self._pressed_s = now_s
        self._presses.append(name)

    def _obey(self, name: str) -> None:
        self._ports.record("local", f"Home Assistant pressed {name}")
        if name == "report":
            self._sent.clear()
            self._ports.report()
        elif self._config.pictures:
            self._send_pictures(self._ports.facts())
