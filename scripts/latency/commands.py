"""Measures `status` from publish to its last reply: link, commander, ledger (synchronous), spool, reporter."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import quantiles

from agent.control.builtin import builtin_handlers
from agent.control.commander import Audience, Commander
from agent.control.link import Link, Subscription
from agent.control.policy_file import PolicyFile
from agent.control.replies import Replies
from agent.schema.document import to_json
from agent.schema.reporting import OutboxConfig
from agent.telemetry.outbox import Outbox
from agent.telemetry.reporter import Reporter, Sources
from agent.telemetry.spool import Priority
from agent.trust.ledger import Ledger
from tests.control.device import STATE, TELEMETRY, end
from tests.control.world import DEVICE, TOPICS, Observer, People, plain, signed, until
from tests.parts.broker import Broker

REPORT_EVERY_S = 10.0


def main() -> None:
    """Print percentiles of so many commands as the first argument says, one at a time."""
    count = int(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        taken_ms = sorted(measure(Path(folder), count))
    cuts = quantiles(taken_ms, n=1000, method="inclusive")
    load = os.getloadavg()[0]
    print(f"{count} commands on {os.cpu_count()} cores, load average {load:.1f} at the end")
    print(
        f"p50 {cuts[499]:.1f} ms, p95 {cuts[949]:.1f} ms, p99 {cuts[989]:.1f} ms, max {taken_ms[-1]:.1f} ms"
    )


def measure(folder: Path, count: int) -> list[float]:
    """Return the milliseconds from each command to its last reply."""
    broker = Broker(folder)
    broker.start()
    observer, people, stop = Observer(broker.port), People(), threading.Event()
    threads = start_device(broker, folder, people, stop)
    try:
        return [one(observer, people) for _ in range(count)]
    finally:
        stop.set()
        for thread in threads:
            thread.join(10.0)
        observer.close()
        broker.stop()


def one(observer: Observer, people: People) -> float:
    """Return the milliseconds of one command."""
    body = people.body(people.vic, "status")
    envelope = signed(body, people.vic)
    observer.seen.clear()
    started_s = time.perf_counter()
    observer.publish(TOPICS.command, envelope)
    end(observer, body["id"])
    return (time.perf_counter() - started_s) * 1000


def start_device(
    broker: Broker, folder: Path, people: People, stop: threading.Event
) -> list[threading.Thread]:
    """Run a device's control plane; return its threads once it listens."""
    policy, ready = folder / "policy.json", threading.Event()
    policy.write_bytes(to_json(people.policy()))
    ledger, link = Ledger(folder / "commands.db"), Link(plain(broker), TOPICS)
    outbox = Outbox(folder / "outbox.db", OutboxConfig())
    replies = Replies(DEVICE, ledger, lambda body: outbox.put(TOPICS.reply, body, Priority.ALERT))
    handlers = builtin_handlers(lambda: STATE, lambda: TELEMETRY)
    commander = Commander(Audience(DEVICE), replies, PolicyFile(policy), handlers)
    sources = Sources(lambda: STATE, lambda: TELEMETRY)
    reporter = Reporter(TOPICS, link, outbox, sources, REPORT_EVERY_S)
    link.subscribe(Subscription(TOPICS.command, commander.receive, ready.set))
    loops: list[Callable[[threading.Event], None]] = [link.run, commander.run, reporter.run]
    threads = [threading.Thread(target=loop, args=(stop,)) for loop in loops]
    for thread in threads:
        thread.start()
    if not until(ready.is_set):
        sys.exit("the device does not reach the broker")
    return threads


if __name__ == "__main__":
    main()
