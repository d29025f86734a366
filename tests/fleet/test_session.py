"""What the controller misses, and what it does not hear at all: sessions and subscriptions on a real mosquitto."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from agent.errors import InUseError
from agent.fleet import connection
from agent.fleet.access import DESK
from agent.fleet.controller import Controller
from agent.fleet.instance import alone_as
from agent.schema.document import to_json
from agent.schema.messages import Reply, ReplyStatus
from tests.fleet.mqtt_device import WAIT_S, Device
from tests.fleet.test_controller import PREFIX, state
from tests.parts.processes import until
from tests.parts.scripted_broker import REFUSED, Habits, ScriptedBroker


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


def test_a_session_has_the_same_id_every_time(fleet: Any, tmp_path: Path) -> None:
    ids = [
        Controller(fleet.broker(1), services=None, session=session)._connection._client_id
        for session in (tmp_path / "session", tmp_path / "session", tmp_path / "other")
    ]
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_name_is_one_processs_at_a_time(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    place: Path | str = tmp_path / "fleet.db"
    folders = [tmp_path, tmp_path]
    if kind == "postgresql":
        # A controller on another machine has another folder.
        place, folders[1] = request.getfixturevalue("server").database(), tmp_path / "other"
        folders[1].mkdir()
    with alone_as("controller", folders[0], place):
        with (
            pytest.raises(InUseError, match="already") as refused,
            alone_as("controller", folders[1], place),
        ):
            pass
        assert "--instance" in refused.value.hint
        with alone_as("controller-1", folders[1], place):
            pass
    with alone_as("controller", folders[1], place):
        pass


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


def test_subscriptions_that_a_broker_refuses_after_a_loss_are_asked_for_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(connection, "_ASK_AGAIN_S", 0.2)
    answers = [b"\x01", bytes([REFUSED]), None, b"\x01"]
    given: list[bytes | None] = []

    def grudging(_count: int) -> bytes | None:
        given.append(answers[len(given)])
        return given[-1]

    with ScriptedBroker(Habits(granted=grudging, patience=1)) as broker:
        ours = connection.Connection(
            broker.settings, [("a/#", 1)], lambda _topic, _payload, _done: None, "controller"
        )
        place = f"{broker.settings.host}:{broker.settings.port}"
        ours.open(WAIT_S)
        ours.publish("hang/up", b"", qos=0)
        until(lambda: len(given) == len(answers) and ours.connected, WAIT_S, "subscribed again")
        ours.close()
    assert broker.connections == 2
    lost = f"the broker gave no reason (does it still run?); connecting to {place} again"
    assert f"broker connection lost: {lost}" in caplog.messages
    assert caplog.messages[-1] == "connected to the broker again"
