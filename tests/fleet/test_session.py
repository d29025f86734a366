"""What the controller misses, and what it does not hear at all: sessions and subscriptions on a real mosquitto."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.fleet.access import DESK
from agent.fleet.controller import Controller
from agent.schema.document import to_json
from agent.schema.messages import Reply, ReplyStatus
from tests.fleet.mqtt_device import WAIT_S, Device
from tests.fleet.test_controller import PREFIX, state


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_what_devices_say_while_the_controller_is_away_waits_at_the_broker(
    fleet: Any, mosquitto: int, protocol: str, tmp_path: Path
) -> None:
    broker = fleet.broker(mosquitto, protocol=protocol)
    session = tmp_path / "session"
    first = Controller(broker, services=None, session=session)
    first.start()
    first.stop()
    device = Device(mosquitto, fleet.tls("cam-1"))
    assert device.accepted()
    reply = Reply(
        v=1, device="cam-1", id="a-command", cmd="stop", status=ReplyStatus.SUCCEEDED, at_ms=0
    )
    device.publish(f"{PREFIX}/reply", to_json(reply))
    device.close()
    second = Controller(broker, services=None, session=session)
    second.start()
    try:
        assert second.inbox.wait_reply("a-command", WAIT_S).device == "cam-1"
    finally:
        second.stop()


def test_a_session_is_one_processs_at_a_time(fleet: Any, mosquitto: int, tmp_path: Path) -> None:
    broker, session = fleet.broker(mosquitto), tmp_path / "session"
    holder = Controller(broker, services=None, session=session)
    other = Controller(broker, services=None, session=session)
    assert holder._connection._client_id != other._connection._client_id
    kept = holder._connection._client_id
    holder.stop()
    third = Controller(broker, services=None, session=session)
    assert third._connection._client_id == kept
    for one in (other, third):
        one.stop()


def test_a_desk_for_one_device_hears_nothing_of_the_others(fleet: Any, mosquitto: int) -> None:
    for name in ("cam-2", "cam-1"):
        device = Device(mosquitto, fleet.tls(name), client_id=name)
        assert device.accepted()
        device.publish(f"vigil/1/d/{name}/state", state(name), retain=True)
        device.close()
    desk = Controller(fleet.broker(mosquitto, DESK), services=None, devices="cam-1")
    desk.start()
    try:
        desk.inbox.wait_state("cam-1", lambda s: s.online, WAIT_S)
        assert [one.device for one in desk.inbox.states()] == ["cam-1"]
    finally:
        desk.stop()
