"""A broker that lies, grants nothing, never acknowledges or hangs up: nothing is lost, and it is said."""

from __future__ import annotations

import itertools
import threading
import time
from typing import TYPE_CHECKING

import pytest

from agent.control.link import Incoming, Link, Presence, Subscription, answers, dialling
from agent.schema.messages import State, Telemetry
from agent.schema.reporting import OutboxConfig
from agent.telemetry.outbox import Outbox
from agent.telemetry.reporter import POISON_BYTES, Reporter, Sources
from agent.telemetry.spool import Priority
from tests.control.world import DEVICE, TOPICS, WAIT_S, until
from tests.parts.scripted_broker import REFUSED, Habits, ScriptedBroker, grant

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PRESENCE = Presence(TOPICS.state, lambda: b"here", b"gone")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits of hundredths of a second, so that many connections fit into a test."""
    for ending in dialling.Ending:
        monkeypatch.setitem(dialling._WAITS_S, ending, (0.02, 0.05))
    monkeypatch.setattr(answers, "TIMEOUT_S", 0.5)
    monkeypatch.setattr(dialling, "_ASK_AGAIN_S", 0.1)
    monkeypatch.setattr(dialling, "_MAX_ASK_AGAIN_S", 0.4)


@pytest.fixture
def broker() -> Iterator[Callable[[Habits], ScriptedBroker]]:
    made: list[ScriptedBroker] = []

    def make(habits: Habits) -> ScriptedBroker:
        made.append(ScriptedBroker(habits))
        return made[-1]

    yield make
    for one in made:
        one.__exit__()


@pytest.fixture
def dial() -> Iterator[Callable[[ScriptedBroker], Link]]:
    links: list[Link] = []

    def make(broker: ScriptedBroker) -> Link:
        links.append(Link(broker.settings, TOPICS, presence=PRESENCE))
        return links[-1]

    yield make
    for link in links:
        link.stop(0.2)


class Outgoing:
    """Outbox and reporter on a link, without measurements of their own."""

    def __init__(self, link: Link, folder: Path) -> None:
        def nothing_to_measure() -> Telemetry:
            raise AssertionError

        self.outbox = Outbox(folder / "outbox.db", OutboxConfig())
        sources = Sources(lambda: State(v=1, device=DEVICE, online=True), nothing_to_measure)
        self.reporter = Reporter(TOPICS, link, self.outbox, sources, 3600.0)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self.reporter.run, args=(self._stop,))
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(60)
        self.outbox.close()


@pytest.fixture
def send(tmp_path: Path) -> Iterator[Callable[[Link], Outgoing]]:
    made: list[Outgoing] = []

    def make(link: Link) -> Outgoing:
        made.append(Outgoing(link, tmp_path))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_a_broker_that_grants_nothing_is_named_and_asked_again_more_and_more_seldom(
    broker: Callable[[Habits], ScriptedBroker], dial: Callable[[ScriptedBroker], Link]
) -> None:
    asked_s: list[float] = []

    def grudging(count: int) -> bytes:
        asked_s.append(time.monotonic())
        return bytes([REFUSED] * count) if len(asked_s) < 5 else grant(count)

    link, granted = dial(broker(Habits(granted=grudging))), list[int]()
    link.subscribe(Subscription(TOPICS.command, _ignore, lambda: granted.append(1)))
    link.start()
    assert until(lambda: TOPICS.command in link.refusals)
    assert f"may not subscribe to {TOPICS.command}: Not authorized" in link.description
    assert link.publish(TOPICS.reply, b"still heard").wait(WAIT_S)
    assert until(lambda: granted)
    assert link.refusals == {}
    assert link.description == "connected by MQTT 5"
    assert link.reconnects == 0
    pauses_s = [later - earlier for earlier, later in itertools.pairwise(asked_s)]
    assert all(
        pause_s > least_s for pause_s, least_s in zip(pauses_s, (0.1, 0.2, 0.4, 0.4), strict=True)
    )


LIES = {
    "fewer answers than questions": Habits(granted=lambda count: grant(count - 1)),
    "more answers than questions": Habits(granted=lambda count: grant(count + 3)),
    "answers to another question": Habits(packet_shift=7),
    "no answer": Habits(granted=lambda _count: None),
    "a message nobody asked for": Habits(alien=b"\x30\x0c\x00\x07alien/x\x00hi"),
    "an acknowledgement of nothing": Habits(alien=b"\x40\x02\x7f\x7f"),
}


@pytest.mark.parametrize("habits", LIES.values(), ids=LIES)
def test_lies_about_subscriptions_cost_no_message(
    broker: Callable[[Habits], ScriptedBroker],
    dial: Callable[[ScriptedBroker], Link],
    send: Callable[[Link], Outgoing],
    habits: Habits,
) -> None:
    liar, heard = broker(habits), list[Incoming]()
    link = dial(liar)
    for topic in (TOPICS.command, TOPICS.hint):
        link.subscribe(Subscription(topic, heard.append))
    outgoing = send(link)
    link.start()
    for number in range(40):
        outgoing.outbox.put(TOPICS.event("door"), b"%d" % number, Priority.EVENT)
    assert until(lambda: outgoing.outbox.size == 0)
    assert outgoing.outbox.dropped == 0
    assert [int(one) for one in liar.taken if one.isdigit()][:40] == list(range(40))
    assert heard == []


@pytest.mark.parametrize("lie", ["answers to another question", "no answer"])
def test_a_subscription_that_is_never_answered_ends_the_connection(
    broker: Callable[[Habits], ScriptedBroker], dial: Callable[[ScriptedBroker], Link], lie: str
) -> None:
    link = dial(broker(LIES[lie]))
    link.subscribe(Subscription(TOPICS.command, _ignore))
    link.start()
    assert until(lambda: link.problem == "broker acknowledges nothing")
    assert until(lambda: link.reconnects >= 1)


def test_missing_answers_count_as_refusals(
    broker: Callable[[Habits], ScriptedBroker], dial: Callable[[ScriptedBroker], Link]
) -> None:
    link = dial(broker(LIES["fewer answers than questions"]))
    for topic in (TOPICS.command, TOPICS.hint):
        link.subscribe(Subscription(topic, _ignore))
    link.start()
    assert until(lambda: link.refusals == {TOPICS.hint: "no answer"})


def test_a_broker_that_accepts_and_never_acknowledges_loses_nothing(
    broker: Callable[[Habits], ScriptedBroker],
    dial: Callable[[ScriptedBroker], Link],
    send: Callable[[Link], Outgoing],
) -> None:
    deaf = broker(Habits(acknowledges=False))
    link = dial(deaf)
    outgoing = send(link)
    link.start()
    wanted = [bytes([number]) * (2 * POISON_BYTES) for number in range(3)]
    for payload in wanted:
        outgoing.outbox.put(TOPICS.event("door"), payload, Priority.EVENT)
    assert until(lambda: deaf.connections >= 8, 20.0)
    assert (outgoing.outbox.size, outgoing.outbox.dropped) == (3, 0)
    deaf.habits = Habits()
    assert until(lambda: outgoing.outbox.size == 0)
    assert outgoing.outbox.dropped == 0
    assert [one for one in deaf.taken if len(one) > POISON_BYTES][-3:] == wanted


def test_a_broker_that_hangs_up_all_the_time_gets_everything_in_order(
    broker: Callable[[Habits], ScriptedBroker],
    dial: Callable[[ScriptedBroker], Link],
    send: Callable[[Link], Outgoing],
) -> None:
    restless = broker(Habits(patience=6))
    link = dial(restless)
    outgoing = send(link)
    for number in range(60):
        outgoing.outbox.put(TOPICS.event("door"), b"%d" % number, Priority.EVENT)
    link.start()
    assert until(lambda: outgoing.outbox.size == 0, 30.0)
    assert outgoing.outbox.dropped == 0
    seen: list[int] = []
    for number in (int(one) for one in restless.taken if one.isdigit()):
        assert number <= len(seen), "a message overtook another"
        seen += [number] if number == len(seen) else []
    assert seen == list(range(60))
    assert restless.connections >= 10


def _ignore(_message: Incoming) -> None:
    pass
