"""Commands from the broker to the reply: the good ones run once, the bad ones never (attacks 41, 43 to 55)."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from agent.control.builtin import builtin_handlers
from agent.control.commander import Audience, Commander
from agent.control.link import Link, Subscription
from agent.control.policy_file import PolicyFile
from agent.control.replies import Replier, Replies, arguments
from agent.errors import CommandError, ModelError
from agent.schema.document import parse_json, to_json
from agent.schema.messages import CommandBody, DeployArgs, Reply, ReplyStatus, State, Telemetry
from agent.trust.ledger import Ledger
from tests.control.world import DEVICE, TOPICS, Observer, People, plain, signed, until
from tests.parts.broker import needs_mosquitto

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.parts.broker import Broker

pytestmark = needs_mosquitto

PEOPLE = People()
NOW_S = int(time.time())
STATE = State(v=1, device=DEVICE, online=True, release="detector 3")
TELEMETRY = Telemetry(
    v=1,
    device=DEVICE,
    boot="b",
    at_ms=1,
    interval_ms=1000,
    fps=1.0,
    stages={},
    cameras=[],
    worker_restarts=0,
    control_pss_mb=1.0,
    worker_pss_mb=0.0,
    temperature_c=None,
    outbox_messages=0,
    outbox_dropped=0,
    link_reconnects=0,
)


class Device:
    """A device's commander behind a real link; its handlers only take notes."""

    def __init__(self, broker: Broker, folder: Path) -> None:
        self.ran: list[CommandBody] = []
        self.kept: list[Replier] = []
        self.policy_path = folder / "commands.json"
        self.ledger = Ledger(folder / "ledger.db")
        self.link = Link(plain(broker), TOPICS)
        replies = Replies(DEVICE, self.ledger, self._reply)
        handlers = {
            **builtin_handlers(lambda: STATE, lambda: TELEMETRY),
            "probe": self._note,
            "deploy": self._deploy,
            "restart": self._note,
        }
        audience = Audience(DEVICE, frozenset({"north"}))
        self.commander = Commander(audience, replies, PolicyFile(self.policy_path), handlers)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self.commander.run, args=(self._stop,))

    def start(self) -> None:
        """Subscribes, connects and runs."""
        ready = []
        for topic in self.commander.topics(TOPICS):
            self.link.subscribe(
                Subscription(topic, self.commander.receive, lambda: ready.append(1))
            )
        self.link.start()
        self._thread.start()
        assert until(lambda: len(ready) == 2)

    def stop(self) -> None:
        """Stops all."""
        self._stop.set()
        self._thread.join(5.0)
        self.link.stop(1.0)
        self.ledger.close()

    def obey(self, **changes: Any) -> None:
        """Gives the device a policy."""
        self.policy_path.write_bytes(to_json(PEOPLE.policy(**changes)))

    def _reply(self, payload: bytes) -> None:
        self.link.publish(TOPICS.reply, payload)

    def _note(self, body: CommandBody, replier: Replier) -> None:
        self.ran.append(body)
        replier.succeeded(counter=body.ctr)

    def _deploy(self, body: CommandBody, replier: Replier) -> None:
        arguments(body, DeployArgs)
        if self.kept:
            raise CommandError("an update is under way", code="command.busy")
        self.ran.append(body)
        self.kept.append(replier)
        replier.running("downloading")


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


def replies(observer: Observer) -> list[Reply]:
    """Every reply so far; each must fit the schema."""
    return [parse_json(one, Reply) for one in observer.payloads(TOPICS.reply)]


def end(observer: Observer, command_id: str) -> Reply:
    """The last word on a command."""
    payload = observer.wait(
        TOPICS.reply, lambda one: _ended(one) and json.loads(one)["id"] == command_id
    )
    return parse_json(payload, Reply)


def _ended(payload: bytes) -> bool:
    return json.loads(payload)["status"] in {"succeeded", "failed"}


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


def test_a_retained_command_is_ignored(mosquitto: Broker, tmp_path: Path) -> None:
    observer = Observer(mosquitto.port)
    observer.publish(TOPICS.command, PEOPLE.command(PEOPLE.oli), retain=True)
    device = Device(mosquitto, tmp_path)
    device.obey()
    device.start()
    body = PEOPLE.body(PEOPLE.oli)
    observer.publish(TOPICS.command, signed(body, PEOPLE.oli))
    end(observer, body["id"])
    assert [one.id for one in device.ran] == [body["id"]]
    device.stop()
    observer.close()


def _edited(_: People) -> bytes:
    envelope = json.loads(PEOPLE.command(PEOPLE.oli))
    other = json.loads(PEOPLE.command(PEOPLE.oli))
    return json.dumps({**envelope, "payload": other["payload"]}).encode()


def _body(**changes: Any) -> Callable[[People], bytes]:
    return lambda people: people.command(people.oli, **changes)


def _raw(text: str) -> Callable[[People], bytes]:
    return lambda people: signed(text.encode(), people.oli)


def _without_signatures(people: People) -> bytes:
    return json.dumps({**json.loads(people.command(people.oli)), "signatures": []}).encode()


def _swapped_type(people: People) -> bytes:
    return json.dumps(
        {**json.loads(people.command(people.oli)), "payloadType": "text/plain"}
    ).encode()


def _twice_by_one(people: People) -> bytes:
    return signed(people.body(people.ada, "restart"), people.ada, people.ada)


def _repeated_field(people: People) -> bytes:
    text = json.dumps(people.body(people.oli))
    return signed(f'{text[:-1]}, "cmd": "restart"}}'.encode(), people.oli)


ATTACKS: dict[str, tuple[Callable[[People], bytes], str]] = {
    "44 counter too old": (_body(ctr=1), "trust.counter"),
    "45 expired": (_body(iat=NOW_S - 900, exp=NOW_S - 600), "trust.expired"),
    "45 from the future": (_body(iat=NOW_S + 3600, exp=NOW_S + 3700), "trust.future"),
    "45 lives too long": (_body(exp=NOW_S + 3 * 86400), "trust.lifetime"),
    "46 other device": (_body(aud="d/dev-2"), "trust.audience"),
    "46 other group": (_body(aud="g/south"), "trust.audience"),
    "47 viewer deploys": (lambda one: one.command(one.vic, "deploy"), "trust.role"),
    "48 issuer is not the signer": (
        lambda one: signed(one.body(one.ada), one.oli),
        "trust.issuer",
    ),
    "49 payload edited": (_edited, "trust.bad_signature"),
    "49 type swapped": (_swapped_type, "trust.wrong_type"),
    "49 signed for another purpose": (
        lambda one: signed(one.body(one.oli), one.oli, kind="text/plain"),
        "trust.wrong_type",
    ),
    "50 one of two": (lambda one: one.command(one.ada, "restart"), "trust.approvals"),
    "50 one person twice": (_twice_by_one, "trust.approvals"),
    "50 admin and operator": (
        lambda one: signed(one.body(one.ada, "restart"), one.ada, one.oli),
        "trust.approvals",
    ),
    "51 empty": (lambda _: b"", "trust.malformed"),
    "51 no JSON": (lambda _: b"\xff\x00{", "trust.malformed"),
    "51 array": (lambda _: b"[]", "trust.malformed"),
    "51 null": (lambda _: b"null", "trust.malformed"),
    "51 deep": (lambda _: b"[" * 8000 + b"]" * 8000, "trust.malformed"),
    "51 huge": (lambda one: one.command(one.oli, args={"x": "y" * 20_000}), "trust.too_large"),
    "51 repeated field": (_repeated_field, "trust.malformed"),
    "51 no signatures": (_without_signatures, "trust.unsigned"),
    "51 counter is a bool": (_body(ctr=True), "trust.malformed"),
    "51 counter is a fraction": (_body(ctr=5000.5), "trust.malformed"),
    "51 counter is NaN": (_body(ctr=float("nan")), "trust.malformed"),
    "51 extra field": (_body(extra=1), "trust.malformed"),
    "51 body is an array": (_raw("[]"), "trust.malformed"),
    "52 counter burnt": (_body(ctr=2**60), "trust.malformed"),
    "53 newer policy": (_body(policy_ver=9), "trust.policy_outdated"),
    "54 stranger": (lambda one: one.command(one.eve), "trust.unknown_key"),
    "command without a rule": (lambda one: one.command(one.ada, "selfdestruct"), "trust.unknown_command"),
}


@pytest.fixture(scope="module")
def besieged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Device, Observer]]:
    """One device that bears all attacks, so that none may spoil it for the next."""
    from tests.parts.broker import Broker

    broker = Broker(tmp_path_factory.mktemp("broker"))
    broker.start()
    observer = Observer(broker.port)
    device = Device(broker, tmp_path_factory.mktemp("device"))
    device.obey()
    device.start()
    # A first command, so that counters have something to be older than.
    body = PEOPLE.body(PEOPLE.oli)
    observer.publish(TOPICS.command, signed(body, PEOPLE.oli))
    end(observer, body["id"])
    yield device, observer
    device.stop()
    observer.close()
    broker.stop()


@pytest.mark.parametrize(("make", "code"), ATTACKS.values(), ids=ATTACKS)
def test_an_attack_runs_nothing_and_leaves_a_reply_and_an_audit_row(
    besieged: tuple[Device, Observer], make: Callable[[People], bytes], code: str
) -> None:
    device, observer = besieged
    rows, told = device.ledger.rows(1000), len(replies(observer))
    ran = list(device.ran)
    observer.publish(TOPICS.command, make(PEOPLE))
    assert until(lambda: len(replies(observer)) > told)
    reply = replies(observer)[told]
    assert reply.status is ReplyStatus.FAILED
    assert reply.code == code
    assert device.ran == ran
    added = device.ledger.rows(1000)[len(rows) :]
    assert [row.kind for row in added] == ["refused"]
    assert added[0].text.startswith(reply.code)
    device.ledger.verify()
    good = PEOPLE.body(PEOPLE.oli)
    observer.publish(TOPICS.command, signed(good, PEOPLE.oli))
    assert end(observer, good["id"]).status is ReplyStatus.SUCCEEDED


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
