"""The announcement to Home Assistant, the counts, and buttons that change nothing."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

from agent.control.home_assistant import HomeAssistant, Ports, Tallies
from agent.control.home_entities import BUTTONS, Facts, discovery_of, discovery_topic
from agent.control.link import Incoming, Subscription, Ticket
from agent.errors import CameraError
from agent.fleet.access import device_may_publish
from agent.schema.document import to_json
from agent.schema.home_assistant import HomeAssistantConfig, UpdateProgress
from tests.control.world import DEVICE, TOPICS, until
from tests.parts.home_assistant import HomeAssistantView

if TYPE_CHECKING:
    from collections.abc import Iterator

FACTS = Facts("1.2.3", "Test board", ("door", "yard.east"), ("person", "car"))
ON = HomeAssistantConfig(enabled=True)
ALL = HomeAssistantConfig(enabled=True, pictures=True, local_control=True, picture_s=0.1)


class Wire:
    """A link that keeps what was published; messages are handed in by the test."""

    connected = True

    def __init__(self) -> None:
        self.connections = 1
        self.sent: list[tuple[str, bytes, bool]] = []
        self.subscriptions: dict[str, Subscription] = {}

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> Ticket:
        assert qos == int(retain)
        self.sent.append((topic, payload, retain))
        return Ticket()

    def subscribe(self, subscription: Subscription) -> None:
        self.subscriptions[subscription.topic] = subscription

    def press(self, name: bytes, *, retained: bool = False) -> None:
        topic = TOPICS.ha_press
        self.subscriptions[topic].handler(Incoming(topic, name, retained))

    def topics(self) -> list[str]:
        return [topic for topic, _, _ in list(self.sent)]


class House:
    """A device with Home Assistant's view running."""

    def __init__(self, config: HomeAssistantConfig) -> None:
        self.wire, self.reports, self.audit = Wire(), list[int](), list[str]()
        self.update = UpdateProgress(
            installed_version="1", latest_version="1", title="Model", in_progress=False
        )
        ports = Ports(
            facts=lambda: FACTS,
            update=lambda: self.update,
            picture=self._picture,
            report=lambda: self.reports.append(1),
            record=lambda kind, text: self.audit.append(f"{kind}: {text}"),
        )
        self.view = HomeAssistant(config, TOPICS, self.wire, ports)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self.view.run, args=(self._stop,))
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(60)

    def _picture(self, camera: str) -> bytes:
        if camera == "door":
            raise CameraError("no picture yet")
        return b"\xff\xd8jpeg"


@pytest.fixture
def house(request: pytest.FixtureRequest) -> Iterator[House]:
    house = House(getattr(request, "param", ON))
    yield house
    house.close()


def announced(config: HomeAssistantConfig, facts: Facts = FACTS) -> HomeAssistantView:
    view = HomeAssistantView()
    view.take(discovery_topic(TOPICS, config), to_json(discovery_of(TOPICS, facts, config)))
    return view


def test_home_assistant_accepts_the_announcement_and_lists_the_entities() -> None:
    view = announced(ALL)
    platforms = {name: one["platform"] for name, one in view.entities.items()}
    assert platforms == {
        "temperature": "sensor",
        "rate": "sensor",
        "model": "update",
        "report": "button",
        "picture": "button",
        "door_occupancy": "binary_sensor",
        "door_count": "sensor",
        "door_count_person": "sensor",
        "door_count_car": "sensor",
        "door_picture": "camera",
        "yard_east_occupancy": "binary_sensor",
        "yard_east_count": "sensor",
        "yard_east_count_person": "sensor",
        "yard_east_count_car": "sensor",
        "yard_east_picture": "camera",
    }
    assert view.devices == {DEVICE: view.devices[DEVICE]}


def test_without_permission_there_are_no_pictures_and_no_buttons() -> None:
    platforms = {one["platform"] for one in announced(ON).entities.values()}
    assert platforms == {"sensor", "binary_sensor", "update"}


def test_the_update_entity_cannot_install_and_buttons_only_hasten_reports() -> None:
    commands = [one for one in announced(ALL).entities.values() if "command_topic" in one]
    assert {one["payload_press"] for one in commands} == set(BUTTONS) == {"report", "picture"}
    assert {one["platform"] for one in commands} == {"button"}


def test_many_labels_do_not_become_many_entities() -> None:
    facts = Facts("1", "b", ("door",), tuple(f"label {number}" for number in range(80)))
    counters = [name for name in announced(ON, facts).entities if "_count_" in name]
    assert len(counters) == ON.max_labels
    chosen = HomeAssistantConfig(enabled=True, labels=["label 70"])
    assert "door_count_label_70" in announced(chosen, facts).entities


def test_the_broker_lets_a_device_announce_itself_and_nobody_else() -> None:
    assert device_may_publish(DEVICE, discovery_topic(TOPICS, ON))
    assert not device_may_publish("other", discovery_topic(TOPICS, ON))


def test_counts_by_label_and_occupancy_that_outlasts_a_moment() -> None:
    now_s = [100.0]
    tallies = Tallies(lambda: now_s[-1])
    assert not tallies.of("door").occupied
    tallies.saw("door", ["person", "car", "person"])
    counts = tallies.of("door")
    assert (counts.total, counts.labels) == (3, {"car": 1, "person": 2})
    tallies.saw("door", [])
    now_s.append(104.0)
    assert (tallies.of("door").total, tallies.of("door").occupied) == (0, True)
    now_s.append(106.0)
    assert not tallies.of("door").occupied


def test_what_changed_is_sent_retained_and_all_again_after_a_reconnect(house: House) -> None:
    door = TOPICS.ha_camera("door")
    assert until(lambda: door in house.wire.topics())
    assert all(retain for _, _, retain in house.wire.sent)
    house.view.tallies.saw("door", ["person"])
    assert until(lambda: house.wire.topics().count(door) == 2)
    assert json.loads(house.wire.sent[-1][1])["labels"] == {"person": 1}
    house.wire.connections += 1
    assert until(lambda: house.wire.topics().count(TOPICS.ha_update) == 2)
    assert house.wire.subscriptions == {}


@pytest.mark.parametrize("house", [ALL], indirect=True)
def test_a_camera_without_a_picture_does_not_keep_the_others_from_theirs(house: House) -> None:
    assert until(lambda: TOPICS.ha_picture("yard.east") in house.wire.topics())
    assert TOPICS.ha_picture("door") not in house.wire.topics()


@pytest.mark.parametrize("house", [ALL], indirect=True)
def test_a_press_is_obeyed_recorded_and_not_repeated_at_once(house: House) -> None:
    house.wire.press(b"restart")
    house.wire.press(b"report", retained=True)
    house.wire.press(b"\xff" * 1000)
    house.wire.press(b"report")
    for _ in range(50):
        house.wire.press(b"report")
    assert until(lambda: house.reports)
    assert house.reports == [1]
    assert house.audit == ["local: Home Assistant pressed report"]


def test_a_device_with_a_dot_in_its_name_is_announced_under_a_name_that_is_allowed() -> None:
    topics: Any = type(TOPICS)("cam.1")
    assert discovery_topic(topics, ON) == "homeassistant/device/cam_1/config"
