"""The reporter at a real broker: state on change, measurements, the outbox emptied in order."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import msgspec
import pytest
from msgspec.structs import replace

from agent.control.link import Link
from agent.schema.document import parse_json
from agent.schema.messages import State, Telemetry
from agent.schema.reporting import OutboxConfig
from agent.telemetry.delta import FULL_EVERY, Deltas
from agent.telemetry.meters import Meters
from agent.telemetry.outbox import Outbox
from agent.telemetry.reporter import BATCH, POISON_BYTES, POISON_TRIES, Reporter, Sources
from agent.telemetry.spool import Priority
from agent.telemetry.survey import Ports, Subject, Survey
from tests.control.world import DEVICE, TOPICS, Observer, until
from tests.parts.broker import needs_mosquitto
from tests.telemetry.device import Device

if TYPE_CHECKING:
    from pathlib import Path

    from agent.telemetry.reporter import Line
    from tests.parts.broker import Broker, BrokerFactory

pytestmark = needs_mosquitto


def test_the_state_is_sent_when_it_changes_and_only_then(
    device: Device, observer: Observer
) -> None:
    device.start()
    assert until(lambda: len(observer.payloads(TOPICS.state)) == 1)
    device.state = replace(device.state, at_ms=2)
    time.sleep(0.5)
    device.state = replace(device.state, release="detector 4")
    assert until(lambda: len(observer.payloads(TOPICS.state)) == 2)
    states = [parse_json(one, State) for one in observer.payloads(TOPICS.state)]
    assert [one.release for one in states] == [None, "detector 4"]


def test_measurements_come_at_intervals(
    mosquitto: Broker, observer: Observer, tmp_path: Path
) -> None:
    device = Device(mosquitto, tmp_path, interval_s=0.4)
    device.start()
    assert until(lambda: len(observer.payloads(TOPICS.telemetry)) >= 2)
    measured = parse_json(observer.payloads(TOPICS.telemetry)[0], Telemetry)
    assert (measured.device, measured.interval_ms) == (DEVICE, 400)
    assert measured.control_pss_mb > 1.0
    device.stop()


def test_what_was_spooled_offline_arrives_in_order_after_a_restart_of_agent_and_broker(
    mosquitto: Broker, tmp_path: Path
) -> None:
    mosquitto.stop()
    first = Device(mosquitto, tmp_path)
    first.start()
    wanted = [b"%d" % number for number in range(100)]
    for payload in wanted:
        first.outbox.put(TOPICS.event("door"), payload, Priority.EVENT)
    first.stop()
    mosquitto.start()
    observer = Observer(mosquitto.port)
    second = Device(mosquitto, tmp_path)
    second.start()
    assert until(lambda: observer.payloads(TOPICS.event("door")) == wanted)
    assert until(lambda: second.outbox.size == 0)
    second.stop()
    observer.close()


def test_a_broker_killed_in_the_middle_costs_no_message(
    mosquitto: Broker, device: Device, observer: Observer, monkeypatch: pytest.MonkeyPatch
) -> None:
    back = threading.Event()
    monkeypatch.setattr(
        Link, "_pause", lambda _, stop, __: until(lambda: back.is_set() or stop.is_set())
    )
    device.start()
    assert until(lambda: device.link.connected)
    topic, total = TOPICS.event("door"), 600
    for number in range(total):
        device.outbox.put(topic, b"%d" % number, Priority.EVENT)
        if number == total // 2:
            assert until(lambda: len(observer.payloads(topic)) > 50)
            mosquitto.kill()
    delivered = len(observer.payloads(topic))
    mosquitto.start()
    late = Observer(mosquitto.port)  # it is there before the device is back
    back.set()
    assert until(lambda: late.payloads(topic)[-1:] == [b"%d" % (total - 1)])
    resent = [int(one) for one in late.payloads(topic)]
    assert resent == list(range(resent[0], total))
    assert resent[0] <= delivered + BATCH
    assert until(lambda: (device.outbox.size, device.outbox.dropped) == (0, 0))
    late.close()


def test_state_and_measurements_do_not_wait_behind_a_full_outbox(
    mosquitto: Broker, tmp_path: Path, observer: Observer
) -> None:
    device = Device(mosquitto, tmp_path)
    for number in range(1500):
        device.outbox.put(TOPICS.event("door"), b"%d" % number, Priority.METRIC)
    device.start()
    assert until(lambda: len(observer.payloads(TOPICS.event("door"))) > 10)
    device.state = replace(device.state, release="in between")

    def comes_while_others_wait() -> bool:
        for number in range(500 - device.outbox.size):
            device.outbox.put(TOPICS.event("door"), b"%d" % number, Priority.METRIC)
        return any(b"in between" in one for one in observer.payloads(TOPICS.state))

    assert until(comes_while_others_wait)
    device.stop()


def test_a_forbidden_message_does_not_block_the_others(
    broker_factory: BrokerFactory, tmp_path: Path
) -> None:
    rules = tmp_path / "rules"
    rules.write_text(f"topic readwrite {TOPICS.event('door')}\ntopic readwrite {TOPICS.state}\n")
    broker = broker_factory(settings=f"acl_file {rules}")
    device, observer = Device(broker, tmp_path), Observer(broker.port)
    device.outbox.put(TOPICS.event("yard"), b"forbidden", Priority.EVENT)
    device.outbox.put(TOPICS.event("door"), b"fine", Priority.EVENT)
    device.start()
    observer.wait(TOPICS.event("door"), lambda one: one == b"fine")
    assert until(lambda: (device.outbox.size, device.outbox.dropped) == (0, 1))
    device.stop()
    observer.close()


def test_a_message_above_the_brokers_limit_is_dropped_once(
    broker_factory: BrokerFactory, tmp_path: Path
) -> None:
    device = Device(broker_factory(settings="max_packet_size 20000"), tmp_path)
    device.outbox.put(TOPICS.event("door"), bytes(30_000), Priority.EVENT)
    device.outbox.put(TOPICS.event("door"), b"fine", Priority.EVENT)
    device.start()
    assert until(lambda: (device.outbox.size, device.outbox.dropped) == (0, 1))
    assert device.link.reconnects == 0
    device.stop()


class _Fate:
    """A receipt that was decided beforehand."""

    def __init__(self, *, acked: bool) -> None:
        self.acked = acked
        self.settled = True
        self.refused = ""

    def wait(self, _timeout_s: float) -> bool:
        return self.acked


class _Fragile:
    """A line that breaks on every large message, as a 3.1.1 broker with a limit does."""

    connected = True

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.acknowledged = 0

    def publish(self, _topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> _Fate:
        broken = len(payload) > POISON_BYTES
        self.acknowledged += 1  # as of the presence that goes out with every connection
        if not retain and not broken and qos:
            self.sent.append(payload)
        return _Fate(acked=not broken)


def test_a_message_that_breaks_every_connection_is_found_and_dropped(tmp_path: Path) -> None:
    outbox, line = Outbox(tmp_path / "outbox.db", OutboxConfig()), _Fragile()
    reporter = _reporter(line, outbox)
    for payload in (b"before", bytes(POISON_BYTES + 1), b"after"):
        outbox.put("topic", payload, Priority.EVENT)
    stop = threading.Event()
    thread = threading.Thread(target=reporter.run, args=(stop,))
    thread.start()
    assert until(lambda: (outbox.size, outbox.dropped) == (0, 1))
    stop.set()
    thread.join(60)
    assert line.sent.count(b"before") <= 2
    assert line.sent[-1] == b"after"


class _Unlucky(_Fragile):
    """A line that breaks often, whatever is sent."""

    def __init__(self) -> None:
        super().__init__()
        self.breaks = 3 * POISON_TRIES

    def publish(self, _topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> _Fate:
        self.breaks -= not retain and bool(qos and payload)
        return _Fate(acked=retain or self.breaks < 0)


def test_a_small_message_is_never_taken_for_poison(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.db", OutboxConfig())
    outbox.put("topic", b"alarm", Priority.ALERT)
    stop = threading.Event()
    thread = threading.Thread(target=_reporter(_Unlucky(), outbox).run, args=(stop,))
    thread.start()
    assert until(lambda: outbox.size == 0)
    stop.set()
    thread.join(60)
    assert outbox.dropped == 0


def test_on_a_metered_link_deltas_go_between_full_messages_however_often_others_measure(
    tmp_path: Path,
) -> None:
    outbox, line = Outbox(tmp_path / "outbox.db", OutboxConfig()), _Fragile()
    survey = Survey(Subject(DEVICE, tmp_path, 0.01), Meters(), outbox, Ports(worker_pid=lambda: 0))
    sources = Sources(
        lambda: State(v=1, device=DEVICE, online=True),
        lambda: [survey() for _ in range(FULL_EVERY)][-1],  # the page and the status file ask, too
    )
    reporter = Reporter(TOPICS, line, outbox, sources, interval_s=0.0, deltas=Deltas())
    stop = threading.Event()
    thread = threading.Thread(target=reporter.run, args=(stop,))
    thread.start()
    assert until(lambda: len(line.sent) > FULL_EVERY)
    stop.set()
    thread.join(60)
    said = [msgspec.json.decode(one) for one in line.sent[: FULL_EVERY + 1]]
    assert [one["seq"] for one in said] == list(range(FULL_EVERY + 1))
    assert [one.get("base") for one in said] == [None, *[0] * (FULL_EVERY - 1), None]
    assert max(map(len, line.sent[1:FULL_EVERY])) < len(line.sent[0]) / 2


def _reporter(line: Line, outbox: Outbox) -> Reporter:
    def nothing_to_measure() -> Telemetry:
        raise AssertionError

    sources = Sources(lambda: State(v=1, device=DEVICE, online=True), nothing_to_measure)
    return Reporter(TOPICS, line, outbox, sources, 3600.0)
