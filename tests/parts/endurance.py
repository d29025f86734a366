"""Long proofs of outbox and link at a real mosquitto, as long as they are asked to be.

`scripts/endure_link` runs them in full; the tests run them short.
"""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.schema.reporting import OutboxConfig
from agent.telemetry.outbox import Outbox
from agent.telemetry.spool import Priority
from tests.parts.broker import Broker
from tests.parts.line_ends import TOPICS, WAIT_S, Inbox, Sender, until

PAYLOAD_BYTES = 600
_ROOT = Path(__file__).parents[2]
# Every so many seconds of a device's day: an alert (a reply, a step of the governor), an event, a measurement.
_EVERY_S = {Priority.ALERT: 600, Priority.EVENT: 5, Priority.METRIC: 10}
_TOPIC = {
    Priority.ALERT: TOPICS.reply,
    Priority.EVENT: TOPICS.event("door"),
    Priority.METRIC: TOPICS.telemetry,
}


@dataclass(frozen=True)
class Day:
    """What became of a day's messages, by topic."""

    put: dict[str, int]
    dropped: int
    received: dict[str, int]
    repeated: int
    disordered: int
    missing: int
    drain_s: float
    written_mb_per_day: float | None


def offline_day(
    folder: Path, broker: Broker, hours: float, max_mb: int, group_s: int = _EVERY_S[Priority.EVENT]
) -> Day:
    """Put `hours` of messages offline, cut the power in the middle, connect, and count what arrives.

    What was put in `group_s` seconds of the day is written together; by itself an outbox writes each event.
    """
    path, seconds = folder / "outbox.db", int(hours * 3600)
    written = _first_life(path, max_mb, seconds // 2, group_s)
    outbox = Outbox(path, OutboxConfig(max_mb=max_mb))
    put = _live(outbox, seconds // 2, seconds, group_s)
    numbers = {topic: range(-(-seconds // every)) for topic, every in _rates()}
    written = _sum(written, outbox.written_bytes)
    broker.start()
    inbox = Inbox(broker, _TOPIC.values())
    with Sender(broker, outbox) as sender:
        began_s = time.monotonic()
        assert until(lambda: outbox.size == 0, WAIT_S * 5), "the outbox was not emptied"
        drain_s = time.monotonic() - began_s
        dropped = outbox.drops
        assert sender.link.reconnects == 0
    received = inbox.close()
    kept = {_TOPIC[one]: set(numbers[_TOPIC[one]][dropped.get(one, 0) :]) for one in Priority}
    assert all(put[topic] <= len(numbers[topic]) for topic in put)
    return Day(
        put={topic: len(wanted) for topic, wanted in numbers.items()},
        dropped=sum(dropped.values()),
        received={topic: len(set(received[topic])) for topic in kept},
        repeated=sum(len(one) - len(set(one)) for one in received.values()),
        disordered=sum(_disordered(one) for one in received.values()),
        missing=sum(len(wanted - set(received[topic])) for topic, wanted in kept.items()),
        drain_s=round(drain_s, 2),
        written_mb_per_day=None if written is None else round(written / 2**20 * 24 / hours, 1),
    )


@dataclass(frozen=True)
class Restarts:
    """What a number of broker restarts left behind."""

    restarts: int
    connections: int
    put: int
    received: int
    repeated: int
    disordered: int
    dropped: int
    threads_more: int
    files_more: int


def broker_restarts(folder: Path, broker: Broker, count: int, per_life: int = 20) -> Restarts:
    """Restart the broker `count` times, every second time by SIGKILL, while messages are sent."""
    outbox = Outbox(folder / "outbox.db", OutboxConfig())
    broker.start()
    inbox, topic = Inbox(broker, _TOPIC.values()), TOPICS.event("door")
    spoken = [0]

    def say(count: int) -> None:
        for _ in range(count):
            outbox.put(topic, _payload(spoken[0]), Priority.EVENT)
            spoken[0] += 1

    with Sender(broker, outbox) as sender:
        assert until(lambda: sender.link.connected, WAIT_S)
        threads, files = threading.active_count(), _open_files()
        for life in range(count):
            before = (sender.link.connections, inbox.link.connections)
            say(per_life)
            if life % 2:
                # What a killed broker acknowledged and did not pass on is lost with it: let it pass all on.
                assert until(lambda: outbox.size == 0 and inbox.newest(topic) == spoken[0] - 1)
                broker.kill()
                say(per_life)
            else:
                broker.stop()
            broker.start()
            assert _are_back(sender, inbox, before)
        assert until(lambda: outbox.size == 0 and inbox.newest(topic) == spoken[0] - 1)
        threads_more, files_more = threading.active_count() - threads, _open_files() - files
        connections, dropped = sender.link.connections, outbox.dropped
    received = inbox.close()[topic]
    return Restarts(
        restarts=count,
        connections=connections,
        put=spoken[0],
        received=len(set(received)),
        repeated=len(received) - len(set(received)),
        disordered=_disordered(received),
        dropped=dropped,
        threads_more=threads_more,
        files_more=files_more,
    )


def _are_back(sender: Sender, inbox: Inbox, before: tuple[int, int]) -> bool:
    return until(lambda: sender.link.connections > before[0]) and until(
        lambda: inbox.link.connections > before[1] and inbox.ready
    )


@dataclass(frozen=True)
class Speed:
    """How fast the outbox is, and what it costs."""

    messages: int
    put_per_s: float
    commit_s: float
    drain_per_s: float
    drain_cpu_ms_per_1000: float
    online_written_mb_per_day: float | None


def throughput(folder: Path, broker: Broker, messages: int) -> Speed:
    """Put, commit and drain so many messages; then live an online day."""
    outbox = Outbox(folder / "outbox.db", OutboxConfig())
    began_s = time.monotonic()
    for number in range(messages):
        outbox.put(TOPICS.event("door"), _payload(number), Priority.EVENT)
        if number % 1000 == 999:
            outbox.commit()
    put_s = time.monotonic() - began_s
    began_s = time.monotonic()
    outbox.commit()
    commit_s = time.monotonic() - began_s
    broker.start()
    with Sender(broker, outbox) as sender:
        assert until(lambda: sender.link.connected, WAIT_S)
        before, began_s, cpu_s = outbox.size, time.monotonic(), time.process_time()
        assert until(lambda: outbox.size == 0, WAIT_S * 5, every_s=0.05)
        drain_s, cpu_s = time.monotonic() - began_s, time.process_time() - cpu_s
    return Speed(
        messages=messages,
        put_per_s=round(messages / put_s),
        commit_s=round(commit_s, 4),
        drain_per_s=round(before / drain_s),
        drain_cpu_ms_per_1000=round(cpu_s * 1e6 / before, 1),
        online_written_mb_per_day=_online_day(folder / "online.db"),
    )


def _first_life(path: Path, *numbers: int) -> int | None:
    """Live seconds of a day in a process that then dies by SIGKILL; return the bytes it wrote."""
    command = [sys.executable, "-m", "tests.parts.endurance", str(path), *map(str, numbers)]
    died = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    assert died.returncode == -signal.SIGKILL, died.stderr
    return None if died.stdout.strip() == "None" else int(died.stdout)


def _die_young(path: Path, max_mb: int, seconds: int, group_s: int) -> None:
    outbox = Outbox(path, OutboxConfig(max_mb=max_mb))
    _live(outbox, 0, seconds, group_s)
    outbox.put(TOPICS.reply, b"never written", Priority.EVENT)
    print(outbox.written_bytes, flush=True)  # noqa: T201 - read by the parent
    os.kill(os.getpid(), signal.SIGKILL)


def _live(outbox: Outbox, begin_s: int, end_s: int, group_s: int) -> Counter[str]:
    """Put what a device says between two seconds of its day, written by groups."""
    put: Counter[str] = Counter()
    for second, priority, number in _said(begin_s, end_s):
        outbox.put(_TOPIC[priority], _payload(number), priority)
        put[_TOPIC[priority]] += 1
        if second % group_s == 0:
            outbox.commit()
    outbox.commit()
    return put


def _said(begin_s: int, end_s: int) -> Iterator[tuple[int, Priority, int]]:
    for second in range(begin_s, end_s):
        for priority, every_s in _EVERY_S.items():
            if second % every_s == 0:
                yield second, priority, second // every_s


def _online_day(path: Path) -> float | None:
    """Return the MiB a day that a connected device writes: only alerts outrun their acknowledgement."""
    outbox = Outbox(path, OutboxConfig())
    alerts = 24 * 3600 // _EVERY_S[Priority.ALERT]
    for number in range(alerts):
        outbox.put(TOPICS.reply, _payload(number), Priority.ALERT)
        outbox.commit_due()
        outbox.put(TOPICS.event("door"), _payload(number), Priority.EVENT)
        outbox.done([one.id for one in outbox.batch(2)])
    outbox.close()
    return None if outbox.written_bytes is None else round(outbox.written_bytes / 2**20, 2)


def _rates() -> list[tuple[str, int]]:
    return [(_TOPIC[priority], every_s) for priority, every_s in _EVERY_S.items()]


def _payload(number: int) -> bytes:
    return b"%08d" % number + bytes(PAYLOAD_BYTES - 8)


def _disordered(numbers: list[int]) -> int:
    """Count numbers that came before a smaller one for the first time; repetitions are in order."""
    highest, count = -1, 0
    first_time: set[int] = set()
    for number in numbers:
        count += number not in first_time and number < highest
        first_time.add(number)
        highest = max(highest, number)
    return count


def _open_files() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def _sum(first: int | None, second: int | None) -> int | None:
    return None if first is None or second is None else first + second


if __name__ == "__main__":
    _die_young(Path(sys.argv[1]), *map(int, sys.argv[2:]))
