"""The controller on a real mosquitto and on the embedded broker, with devices that are plain MQTT clients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from agent.errors import ConfigError, TransferError
from agent.fleet.access import DESK, WATCH
from agent.fleet.connection import client_context
from agent.fleet.controller import Controller
from agent.fleet.operators import SignedCommand
from agent.schema.blocks import BAD_REQUEST, OK, BlockReply
from agent.schema.config import TlsConfig
from agent.schema.document import parse_json, to_json
from agent.schema.messages import KeyReply, KeyRequest, Reply, ReplyStatus, State
from agent.trust.grant import unwrap
from tests.fleet.mqtt_device import WAIT_S, Device
from tests.parts.processes import until

DEK = bytes(range(32))
RELEASE = "gate/people/1.0"
PREFIX = "vigil/1/d/cam-1"


Join = Callable[..., Device]


@pytest.fixture(params=["mosquitto", "embedded"])
def port(request: pytest.FixtureRequest) -> int:
    broker = request.getfixturevalue(request.param)
    return broker if isinstance(broker, int) else int(broker.port)


@pytest.fixture
def controller(fleet: Any, port: int) -> Iterator[Controller]:
    controller = fleet.controller(port)
    controller.start()
    yield controller
    controller.stop()


@pytest.fixture
def join(fleet: Any, port: int) -> Iterator[Join]:
    devices: list[Device] = []

    def make(name: str = "cam-1", **options: Any) -> Device:
        options.setdefault("client_id", name)
        devices.append(Device(port, fleet.tls(name), **options))
        return devices[-1]

    yield make
    for device in devices:
        device.close()


def state(device: str = "cam-1", *, online: bool = True) -> bytes:
    return to_json(State(v=1, device=device, online=online, release="people 1.0"))


def test_a_devices_state_reaches_the_controller_also_when_it_came_first(
    fleet: Any, port: int, join: Join
) -> None:
    device = join()
    assert device.accepted()
    device.publish(f"{PREFIX}/state", state(), retain=True)
    controller = fleet.controller(port)
    controller.start()
    try:
        found = controller.inbox.wait_state("cam-1", lambda s: s.online, WAIT_S)
        assert found.release == "people 1.0"
        assert [s.device for s in controller.inbox.states()] == ["cam-1"]
    finally:
        controller.stop()


def test_a_device_that_vanishes_is_seen_offline(controller: Controller, join: Join) -> None:
    device = join(will=(f"{PREFIX}/state", state(online=False)))
    assert device.accepted()
    device.publish(f"{PREFIX}/state", state(), retain=True)
    controller.inbox.wait_state("cam-1", lambda s: s.online, WAIT_S)
    device.vanish()
    controller.inbox.wait_state("cam-1", lambda s: not s.online, WAIT_S)


def test_a_command_travels_to_the_device_and_its_replies_come_back(
    controller: Controller, join: Join
) -> None:
    device = join()
    assert device.accepted()
    assert not device.subscribe(f"{PREFIX}/cmd").is_failure
    command = SignedCommand("command-1", "d/cam-1", b"an envelope")
    controller.send(command)
    assert device.get()[:2] == (f"{PREFIX}/cmd", b"an envelope")
    for status in (ReplyStatus.ACCEPTED, ReplyStatus.SUCCEEDED):
        reply = Reply(v=1, device="cam-1", id="command-1", cmd="stop", status=status, at_ms=0)
        device.publish(f"{PREFIX}/reply", to_json(reply))
    assert controller.inbox.wait_reply("command-1", WAIT_S).status is ReplyStatus.SUCCEEDED
    assert [r.status.value for r in controller.inbox.replies("command-1")] == [
        "accepted",
        "succeeded",
    ]


def test_a_command_that_nobody_answers_times_out_in_words(controller: Controller) -> None:
    with pytest.raises(TransferError, match="no reply"):
        controller.ask(SignedCommand("command-2", "d/cam-1", b"x"), timeout_s=0.3)


def test_a_device_pulls_a_file_in_blocks(controller: Controller, join: Join, fleet: Any) -> None:
    device = join("cam-1", client_id="cam-1-bulk")
    assert device.accepted()
    device.subscribe(f"{PREFIX}/blk/rsp", 0)
    whole = (fleet.public / "targets/models/big.bin").read_bytes()
    block, received = 128 * 1024, {}
    for number in range(len(whole) // block):
        request = {
            "id": f"{number:016x}",
            "p": "targets/models/big.bin",
            "o": number * block,
            "l": block,
        }
        device.publish(f"{PREFIX}/blk/req", to_json(request))
    for _ in range(len(whole) // block):
        reply = BlockReply.decode(device.get()[1])
        assert (reply.status, reply.total) == (OK, len(whole))
        received[reply.offset] = reply.data
    assert b"".join(received[offset] for offset in sorted(received)) == whole


def test_a_device_gets_a_key_that_only_it_can_open(
    controller: Controller, join: Join, fleet: Any
) -> None:
    key = fleet.register("cam-1", "gate", "north")
    device = join()
    assert device.accepted()
    device.subscribe(f"{PREFIX}/key/rsp")
    device.publish(f"{PREFIX}/key/req", to_json(KeyRequest(v=1, id="request-1", release=RELEASE)))
    reply = parse_json(device.get()[1], KeyReply)
    assert (reply.id, reply.status) == ("request-1", 200)
    assert unwrap(reply.grant, key, RELEASE, "gate", "cam-1") == DEK


def test_the_hint_is_retained_for_devices_that_come_later(
    controller: Controller, join: Join
) -> None:
    early = join("cam-2")
    assert early.accepted()
    early.subscribe("vigil/1/hint")
    controller.hint(7)
    assert early.get()[1]  # the broker has it
    device = join()
    assert device.accepted()
    device.subscribe("vigil/1/hint")
    topic, payload, retained = device.get()
    assert (topic, payload, retained) == ("vigil/1/hint", b'{"v":1,"timestamp_version":7}', True)


def test_group_commands_reach_members_only(controller: Controller, join: Join) -> None:
    member, stranger = join("cam-1"), join("cam-2")
    assert member.accepted()
    assert stranger.accepted()
    for device in (member, stranger):
        device.subscribe("vigil/1/g/north/cmd")
    controller.send(SignedCommand("command-3", "g/north", b"to the north"))
    assert member.get()[1] == b"to the north"
    assert stranger.silent()


def test_a_device_neither_hears_nor_impersonates_another(
    controller: Controller, join: Join
) -> None:
    spy = join("cam-2")
    assert spy.accepted()
    for pattern in (f"{PREFIX}/cmd", f"{PREFIX}/key/rsp", "vigil/1/d/+/state", "#"):
        spy.subscribe(pattern)
    victim = join("cam-1")
    assert victim.accepted()
    victim.publish(f"{PREFIX}/state", state(), retain=True)
    controller.send(SignedCommand("command-4", "d/cam-1", b"secret"))
    spy.publish(f"{PREFIX}/state", state(online=False), retain=True)
    assert spy.silent()
    seen = controller.inbox.state("cam-1")
    assert seen is not None
    assert seen.online


def test_a_service_that_fails_is_logged_and_the_others_go_on(
    controller: Controller, join: Join, fleet: Any, caplog: pytest.LogCaptureFixture
) -> None:
    device = join()
    assert device.accepted()
    fleet.registry.close()
    (fleet.folder / "fleet.db").write_bytes(b"not a database" * 500)
    device.subscribe(f"{PREFIX}/blk/rsp", 0)
    device.publish(f"{PREFIX}/key/req", to_json(KeyRequest(v=1, id="request-1", release=RELEASE)))
    device.publish(f"{PREFIX}/blk/req", b"{}")
    assert BlockReply.decode(device.get()[1]).status == BAD_REQUEST
    until(lambda: "key/req of cam-1 not answered" in caplog.text, WAIT_S, "the failure is logged")


def test_what_does_not_fit_its_schema_is_dropped(controller: Controller, join: Join) -> None:
    device = join()
    assert device.accepted()
    for payload in (b"", b"[]", b"\xff", state("cam-2"), b'{"v":1}'):
        device.publish(f"{PREFIX}/state", payload)
    device.publish(f"{PREFIX}/state", state())
    controller.inbox.wait_state("cam-1", lambda s: s.online, WAIT_S)
    assert controller.inbox.state("cam-2") is None


def test_a_client_without_a_certificate_of_the_fleet_is_not_let_in(
    port: int, fleet: Any, tmp_path: Any
) -> None:
    from agent.fleet.authority import FleetAuthority

    foreign = FleetAuthority.create(tmp_path / "foreign")
    foreign.client_certificate("cam-1").write(tmp_path / "foreign", "cam-1")
    tls = TlsConfig(
        ca=str(tmp_path / "ca.crt"),
        cert=str(tmp_path / "foreign/cam-1.crt"),
        key=str(tmp_path / "foreign/cam-1.key"),
    )
    try:
        device = Device(port, tls)
    except OSError:
        return
    assert not device.accepted(2.0)
    device.close()


def test_a_command_desk_works_beside_the_running_controller(
    controller: Controller, join: Join, fleet: Any, port: int
) -> None:
    desk = Controller(fleet.broker(port, DESK), services=None)
    desk.start()
    device = join()
    assert device.accepted()
    device.subscribe(f"{PREFIX}/cmd")
    desk.send(SignedCommand("command-5", "d/cam-1", b"from the desk"))
    assert device.get()[1] == b"from the desk"
    assert controller.connected
    desk.stop()


def test_who_watches_hears_everybody_and_may_say_nothing(
    controller: Controller, join: Join, fleet: Any, port: int
) -> None:
    device = join()
    assert device.accepted()
    device.subscribe(f"{PREFIX}/cmd")
    device.publish(f"{PREFIX}/state", state(), retain=True)
    watcher = Controller(fleet.broker(port, WATCH), services=None, name=WATCH)
    watcher.start()
    watcher.inbox.wait_state("cam-1", lambda s: s.online, 30.0)
    watcher.send(SignedCommand("command-6", "d/cam-1", b"of the watcher"))
    watcher.stop()  # waits until what it said is acknowledged or gone
    controller.send(SignedCommand("command-7", "d/cam-1", b"of the controller"))
    assert device.get()[1] == b"of the controller"


@pytest.mark.parametrize("protocol", ["5", "3.1.1", "auto"])
def test_the_controller_speaks_the_protocol_it_is_told(
    fleet: Any, mosquitto: int, protocol: str
) -> None:
    controller = fleet.controller(mosquitto, protocol)
    controller.start()
    assert controller.connected
    controller.stop()


def test_a_broker_that_is_not_there_is_named(fleet: Any) -> None:
    with pytest.raises(TransferError, match=r"127\.0\.0\.1:1"):
        fleet.controller(1).start(timeout_s=1)


def test_missing_certificate_files_are_named(fleet: Any) -> None:
    with pytest.raises(ConfigError, match=r"nothing\.crt"):
        client_context(TlsConfig(ca="nothing.crt", cert="nothing.crt", key="nothing.key"))
