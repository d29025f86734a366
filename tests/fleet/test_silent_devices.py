"""Who calls itself online and falls silent: a device that dies together with the broker leaves no last will."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent.fleet.access import WATCH
from agent.fleet.controller import Controller
from agent.fleet.fleet_view import Condition, DeviceRow, FleetView
from agent.fleet.home import BROKER, MOSQUITTO_STATE, FleetHome
from agent.fleet.inbox import Inbox
from agent.fleet.registry import DeviceRecord, Registry
from agent.schema.document import to_json
from agent.schema.messages import State
from agent.schema.topics import parse
from tests.console.scripted import telemetry
from tests.fleet.fleet_site import LOG, broker_of, fleet_site, tls_of
from tests.fleet.mqtt_device import Device
from tests.parts.processes import until

WAIT_S = 60.0
INTERVAL_MS = 30_000
ONLINE, OFFLINE, UNHEARD = Condition.ONLINE, Condition.OFFLINE, Condition.UNHEARD


@dataclass
class Look:
    """A view of a fleet whose clock is set by hand."""

    registry: Registry
    inbox: Inbox
    now_ms: int = 1_000_000
    view: FleetView = field(init=False)

    def __post_init__(self) -> None:
        self.view = FleetView(self.registry, self.inbox, now_ms=lambda: self.now_ms)

    def row(self, device: str = "cam-1") -> DeviceRow:
        return self.view.row(self.registry.known(device))

    def heard_now(self, device: str) -> bool:
        return self.row(device).heard_ms == self.now_ms

    def hear(self, leaf: str, payload: bytes) -> None:
        topic = parse(f"vigil/1/d/cam-1/{leaf}", "vigil/1")
        assert topic is not None
        self.inbox.put(topic, payload)


@pytest.fixture
def look(tmp_path: Path) -> Iterator[Look]:
    registry = Registry(tmp_path / "fleet.db")
    registry.put_device(DeviceRecord("cam-1", "gate", (), b"", "0"))
    yield Look(registry, Inbox())
    registry.close()


def state(device: str, *, online: bool = True, interval_ms: int = INTERVAL_MS) -> bytes:
    return to_json(State(v=1, device=device, online=online, interval_ms=interval_ms))


@pytest.mark.parametrize(
    ("interval_ms", "patience_ms"),
    [(30_000, 90_000), (3_600_000, 3 * 3_600_000), (100, 60_000)],
)
def test_silence_is_measured_by_the_devices_own_interval(
    look: Look, interval_ms: int, patience_ms: int
) -> None:
    look.hear("state", state("cam-1", interval_ms=interval_ms))
    look.now_ms += patience_ms
    assert look.row().condition is ONLINE
    look.hear("telemetry", to_json(telemetry(device="cam-1")))
    look.now_ms += patience_ms
    assert look.row().condition is ONLINE
    look.now_ms += 1
    assert look.row().condition is UNHEARD
    assert look.row().fps is None
    look.hear("telemetry", to_json(telemetry(device="cam-1")))
    assert look.row().condition is ONLINE


def test_who_does_not_say_its_interval_is_believed(look: Look) -> None:
    look.hear("state", state("cam-1", interval_ms=0))
    look.now_ms += 10**9
    assert look.row().condition is ONLINE


def test_who_took_leave_is_offline_however_long_ago(look: Look) -> None:
    look.hear("state", state("cam-1"))
    look.hear("state", state("cam-1", online=False))
    look.now_ms += 10**9
    assert look.row().condition is OFFLINE


def test_a_device_that_died_with_its_broker_is_not_called_online(tmp_path: Path) -> None:
    with fleet_site(tmp_path) as home:
        names = ("cam-1", "cam-2")
        home.registry.put_devices([DeviceRecord(one, "gate", (), b"", "0") for one in names])
        home.write_access()
        controller = Controller(home.broker(WATCH), None, name=WATCH)
        look = Look(home.registry, controller.inbox)
        controller.start()
        dies, lives = (joined(home, one) for one in names)
        until(lambda: all(map(look.heard_now, names)), WAIT_S, "both are heard")
        killed(home)
        for device in (dies, lives):
            device.close()
        look.now_ms += 1
        with broker_of(home, tmp_path / LOG):
            # What the broker kept says of both that they are online.
            until(lambda: all(map(look.heard_now, names)), WAIT_S, "what was retained is heard")
            assert {look.row(one).condition for one in names} == {ONLINE}
            look.now_ms += 3 * INTERVAL_MS + 1
            lives = joined(home, "cam-2")
            until(lambda: look.heard_now("cam-2"), WAIT_S, "the one that lives is heard")
            assert [look.row(one).condition for one in names] == [UNHEARD, ONLINE]
            lives.close()
            controller.stop()


def joined(home: FleetHome, name: str) -> Device:
    topic, gone = f"vigil/1/d/{name}/state", state(name, online=False)
    device = Device(home.config.broker_port, tls_of(home, name), name, will=(topic, gone))
    assert device.accepted()
    device.publish(topic, state(name), retain=True)
    return device


def killed(home: FleetHome) -> None:
    """Kill the broker once it has written down what is retained."""
    number = int((home.folder / BROKER / "mosquitto.pid").read_text())
    os.kill(number, signal.SIGUSR1)
    until((home.folder / BROKER / MOSQUITTO_STATE / "mosquitto.db").exists, WAIT_S, "it is kept")
    os.kill(number, signal.SIGKILL)
