"""Commands from the broker to the reply: what is asked for is done once, at most (41, 43, 54, 55, 62)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from agent.errors import ModelError
from agent.schema.document import to_json
from agent.schema.messages import ReplyStatus
from tests.control.device import PEOPLE, Device, end, replies
from tests.control.world import TOPICS, Observer, signed, until
from tests.parts.broker import needs_mosquitto

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.parts.broker import Broker

pytestmark = needs_mosquitto


@pytest.fixture
def observer(mosquitto: Broker) -> Iterator[Observer]:
    observer = Observer(mosquitto.port)
    yield observer
    observer.close()


@pytest.fixture
def device(mosquitto: Broker, tmp_path: Path) -> Iterator[Device]:
    device = Device(mosquitto, tmp_path)
    device.obey()
    device.start()
    yield device
    device.stop()


def test_a_good_command_runs_once_and_tells_its_steps(device: Device, observer: Observer) -> None:
    body = PEOPLE.body(PEOPLE.oli)
    observer.publish(TOPICS.command, signed(body, PEOPLE.oli))
    assert end(observer, body["id"]).data == {"counter": body["ctr"]}
    assert [one.status for one in replies(observer)] == [
        ReplyStatus.ACCEPTED,
        ReplyStatus.SUCCEEDED,
    ]
    assert [one.id for one in device.ran] == [body["id"]]
    assert [row.kind for row in device.ledger.rows()] == ["admitted", "succeeded"]
    assert device.ledger.unfinished() == []


def test_a_group_command_reaches_the_members(device: Device, observer: Observer) -> None:
    body = PEOPLE.body(PEOPLE.oli, aud="g/north")
    observer.publish(TOPICS.group_command("north"), signed(body, PEOPLE.oli))
    assert end(observer, body["id"]).status is ReplyStatus.SUCCEEDED
    assert len(device.ran) == 1


def test_state_and_measurements_can_be_asked_for(device: Device, observer: Observer) -> None:
    policy = PEOPLE.policy()
    rules = {**policy.commands, "self-report": policy.commands["status"]}
    device.policy_path.write_bytes(
        to_json(type(policy)(schema=1, version=3, users=policy.users, commands=rules))
    )
    for cmd, field, value in (("status", "release", "detector 3"), ("self-report", "fps", 1.0)):
        body = PEOPLE.body(PEOPLE.vic, cmd)
        observer.publish(TOPICS.command, signed(body, PEOPLE.vic))
        assert end(observer, body["id"]).data[field] == value


def test_long_work_keeps_the_replier_and_a_second_deploy_is_busy(
    device: Device, observer: Observer
) -> None:
    args = {"release": "models/x/y/1/manifest.json", "sha256": "0" * 64}
    first, second = (PEOPLE.body(PEOPLE.dee, "deploy", args=args) for _ in range(2))
    observer.publish(TOPICS.command, signed(first, PEOPLE.dee))
    observer.publish(TOPICS.command, signed(second, PEOPLE.dee))
    assert end(observer, second["id"]).code == "command.busy"
    assert [one.id for one in device.ledger.unfinished()] == [first["id"]]
    device.kept[0].failed(ModelError("golden set missed", code="model.golden"))
    device.kept[0].succeeded()
    assert end(observer, first["id"]).code == "model.golden"
    time.sleep(0.1)
    statuses = [one.status.value for one in replies(observer) if one.id == first["id"]]
    assert statuses == ["accepted", "running", "failed"]


@pytest.mark.parametrize(
    ("cmd", "args", "code"),
    [
        ("unheard", {}, "command.unknown"),
        ("deploy", {"release": "models/x/y/1/manifest.json"}, "command.arguments"),
        ("deploy", {"release": "../etc/x", "sha256": "0" * 64}, "command.arguments"),
        ("deploy", {"release": 7, "sha256": "0" * 64}, "command.arguments"),
    ],
)
def test_an_authentic_command_that_cannot_be_done_fails_with_its_reason(
    device: Device, observer: Observer, cmd: str, args: dict[str, Any], code: str
) -> None:
    body = PEOPLE.body(PEOPLE.dee, cmd, args=args)
    observer.publish(TOPICS.command, signed(body, PEOPLE.dee))
    assert end(observer, body["id"]).code == code
    assert device.ran == []
    assert [row.kind for row in device.ledger.rows()] == ["admitted", "failed"]


def test_a_retained_command_is_ignored(
    mosquitto: Broker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    observer = Observer(mosquitto.port)
    observer.publish(TOPICS.command, PEOPLE.command(PEOPLE.oli), retain=True)
    device = Device(mosquitto, tmp_path)
    device.obey()
    device.start()
    body = PEOPLE.body(PEOPLE.oli)
    observer.publish(TOPICS.command, signed(body, PEOPLE.oli))
    end(observer, body["id"])
    assert [one.id for one in device.ran] == [body["id"]]
    assert [row.kind for row in device.ledger.rows()] == ["admitted", "succeeded"]
    assert f"{TOPICS.command}: retained command ignored" in caplog.text
    device.stop()
    observer.close()


def test_a_replay_is_refused_and_does_not_speak_for_the_original(
    device: Device, observer: Observer
) -> None:
    body = PEOPLE.body(PEOPLE.oli)
    data = signed(body, PEOPLE.oli)
    observer.publish(TOPICS.command, data)
    assert end(observer, body["id"]).status is ReplyStatus.SUCCEEDED
    observer.publish(TOPICS.command, data)
    refusal = end(observer, "")
    assert (refusal.status, refusal.code) == (ReplyStatus.FAILED, "trust.counter")
    assert len(device.ran) == 1
    assert [row.kind for row in device.ledger.rows()] == ["admitted", "succeeded", "refused"]


def test_57_a_replay_to_a_restored_ledger_is_refused(
    mosquitto: Broker, tmp_path: Path, observer: Observer
) -> None:
    before = Device(mosquitto, tmp_path)
    before.obey()
    before.start()
    body = PEOPLE.body(PEOPLE.oli)
    data = signed(body, PEOPLE.oli)
    observer.publish(TOPICS.command, data)
    end(observer, body["id"])
    before.stop()
    # Put back: the ledger of a device that was never commanded.
    for path in tmp_path.glob("ledger.db*"):
        path.unlink()
    after = Device(mosquitto, tmp_path)
    after.start()
    try:
        observer.publish(TOPICS.command, data)
        observer.wait(TOPICS.reply, lambda one: b'"trust.counter"' in one)
        assert after.ran == []
        assert [row.kind for row in after.ledger.rows()] == ["ledger", "refused"]
    finally:
        after.stop()


def test_a_refused_command_is_named_in_its_reply(device: Device, observer: Observer) -> None:
    body = PEOPLE.body(PEOPLE.vic)
    observer.publish(TOPICS.command, signed(body, PEOPLE.vic))
    reply = end(observer, body["id"])
    assert (reply.code, reply.cmd) == ("trust.role", "probe")
    assert device.ran == []


def test_a_revoked_user_is_out_as_soon_as_the_policy_is(device: Device, observer: Observer) -> None:
    device.obey(version=4, without="oli")
    body = PEOPLE.body(PEOPLE.oli)
    observer.publish(TOPICS.command, signed(body, PEOPLE.oli))
    assert end(observer, body["id"]).status is ReplyStatus.FAILED
    assert device.ran == []


@pytest.mark.parametrize(
    ("policy", "code"),
    [(None, "policy.missing"), (b"{", "trust.malformed"), (bytes(2**20 + 1), "policy.unreadable")],
)
def test_without_a_readable_policy_every_command_is_refused(
    device: Device, observer: Observer, policy: bytes | None, code: str
) -> None:
    device.policy_path.unlink()
    if policy is not None:
        device.policy_path.write_bytes(policy)
    body = PEOPLE.body(PEOPLE.ada)
    observer.publish(TOPICS.command, signed(body, PEOPLE.ada))
    assert end(observer, body["id"]).code == code
    assert device.ran == []


def test_what_the_previous_life_left_open_is_reported_unless_taken_up_again(
    mosquitto: Broker, observer: Observer, tmp_path: Path
) -> None:
    args = {"release": "models/x/y/1/manifest.json", "sha256": "0" * 64}
    bodies = [PEOPLE.body(PEOPLE.dee, "deploy", args=args) for _ in range(2)]
    first = Device(mosquitto, tmp_path)
    first.obey()
    for body in bodies:
        first.commander.execute(signed(body, PEOPLE.dee))
        first.kept.clear()
    first.ledger.close()
    second = Device(mosquitto, tmp_path)
    second.start()
    assert until(lambda: second.link.connected)
    second.commander.report_interrupted(resumed={bodies[0]["id"]})
    assert end(observer, bodies[1]["id"]).code == "command.interrupted"
    assert [one.id for one in second.ledger.unfinished()] == [bodies[0]["id"]]
    second.stop()


def test_a_ledger_that_cannot_be_written_lets_nothing_run(
    device: Device, observer: Observer
) -> None:
    device.ledger._db.execute("pragma query_only = on")
    body = PEOPLE.body(PEOPLE.oli)
    observer.publish(TOPICS.command, signed(body, PEOPLE.oli))
    assert end(observer, body["id"]).code == "storage.failed"
    assert device.ran == []
