"""Attacks 44 to 54: whatever is wrong with a command, nothing runs and it is said and written down."""

from __future__ import annotations

import base64
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.control.commander import QUEUE_COMMANDS
from agent.control.link import Incoming
from agent.schema.messages import COMMAND_TYPE, ReplyStatus
from tests.control.device import PEOPLE, Device, end, replies
from tests.control.world import TOPICS, Observer, People, signed, until
from tests.parts.broker import Broker, needs_mosquitto

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = needs_mosquitto

NOW_S = int(time.time())  # when the tests were collected, which may be hours ago


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


_LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)


def _nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = st.sampled_from(["payload", "payloadType", "signatures", "id", "cmd", "keyid", "sig"])
    return st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=5)


def _envelope_of(tree: Any) -> bytes:
    inner = base64.b64encode(json.dumps(tree).encode()).decode()
    return json.dumps({"payload": inner, "payloadType": COMMAND_TYPE, "signatures": tree}).encode()


ATTACKS: dict[str, tuple[Callable[[People], bytes], str]] = {
    "44 counter too old": (_body(ctr=1), "trust.counter"),
    "45 expired": (_body(iat=NOW_S - 900, exp=NOW_S - 600), "trust.expired"),
    "45 from the future": (_body(iat=NOW_S + 86400, exp=NOW_S + 86500), "trust.future"),
    "45 lives too long": (_body(exp=NOW_S + 9 * 86400), "trust.lifetime"),
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
    "command without a rule": (
        lambda one: one.command(one.ada, "selfdestruct"),
        "trust.unknown_command",
    ),
}


@pytest.fixture(scope="module")
def besieged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Device, Observer]]:
    """One device that bears all attacks, so that none may spoil it for the next."""
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


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    """A device that hears nothing but what the test gives to its commander."""
    folder = tmp_path_factory.mktemp("offline")
    device = Device(Broker(folder), folder)
    device.obey()
    yield device
    device.ledger.close()


@given(data=st.binary(max_size=300) | st.recursive(_LEAVES, _nested).map(_envelope_of))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_bytes_at_all_are_refused_and_written_down(offline: Device, data: bytes) -> None:
    before = len(offline.ledger.rows(100_000))
    offline.commander.execute(data)
    assert [row.kind for row in offline.ledger.rows(100_000)[before:]] == ["refused"]
    assert offline.ran == []


def test_a_flood_of_commands_is_dropped_not_kept(offline: Device) -> None:
    for _ in range(QUEUE_COMMANDS + 10):
        offline.commander.receive(Incoming(TOPICS.command, b"x" * 20_000))
    assert offline.commander._queue.qsize() == QUEUE_COMMANDS
