"""Fleets of growing size on a real mosquitto and the real controller: what each costs, what gets lost, how long commands take.

python scripts/simulation/measure.py OUT [--sizes 100,1000] [--seconds 60] [--plaintext]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from plot import draw
from securesystemslib.signer import CryptoSigner
from stage import Stage, Worker

from agent.fleet.operators import CommandDesk, Order

_CROWD = 2500  # devices in one process
_PATIENCE_S = 600.0


@dataclass
class Cost:
    """A process's part of one core, percent, and its memory."""

    cpu_percent: float
    rss_mb: float


@dataclass
class Result:
    """One fleet's figures.

    Attributes:
        joined_s: From the first device's start until the controller saw all of them.
        messages_per_s: What devices sent, states and measurements.
        lost: Measurements that devices sent and the controller never saw; none may be missing after storms either.
        answered_ms: From sending a command to the device's last reply: p50, p95, p99, greatest.
        storm_s: From the broker's restart until the controller saw every device again.
    """

    devices: int
    interval_s: float
    tls: bool
    joined_s: float = 0.0
    messages_per_s: float = 0.0
    answered_ms: dict[str, float] = field(default_factory=dict)
    commands: int = 0
    unanswered: int = 0
    controller: Cost | None = None
    broker: Cost | None = None
    storm_s: float = 0.0
    storm: dict[str, Cost] = field(default_factory=dict)
    sent: int = 0
    lost: int = 0
    repeated: int = 0


def main() -> None:
    """Measure every size and write `fleet.json` and `fleet.png`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--sizes", default="100,1000")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--interval", type=float, default=10.0, help="between two reports, seconds")
    parser.add_argument("--commands-per-s", type=float, default=10.0)
    parser.add_argument("--plaintext", action="store_true")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    results: list[Result] = []
    for size in map(int, options.sizes.split(",")):
        results.append(measure(size, options))
        print(json.dumps(asdict(results[-1])), flush=True)
        _write(results, options)  # after every size: a later one may fail


def _write(results: list[Result], options: argparse.Namespace) -> None:
    document = {
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "seconds": options.seconds,
        "results": [asdict(result) for result in results],
    }
    (options.out / "fleet.json").write_text(json.dumps(document, indent=2) + "\n")
    draw(document["results"], options.out / "fleet.png")


def measure(size: int, options: argparse.Namespace) -> Result:
    """Return the figures of one fleet of `size` devices."""
    result = Result(size, options.interval, tls=not options.plaintext)
    with (
        tempfile.TemporaryDirectory(prefix="vigil-fleet-") as folder,
        Stage(Path(folder), size, tls=not options.plaintext) as stage,
    ):
        stage.controller.ask("mark")  # answers once it serves
        began_s = time.monotonic()
        crowds = _start_crowds(stage, options.interval)
        _await(lambda: stage.controller.ask()["fresh"] == size, "all devices are seen")
        result.joined_s = round(time.monotonic() - began_s, 2)
        _steady(stage, crowds, options, result)
        _storm(stage, size, result)
        _count(stage, crowds, result)
    return result


def _start_crowds(stage: Stage, interval_s: float) -> list[Worker]:
    names = stage.names
    groups = [names[start : start + _CROWD] for start in range(0, len(names), _CROWD)]
    return [stage.crowd(group, interval_s, joins_per_s=200 / len(groups)) for group in groups]


def _steady(
    stage: Stage, crowds: list[Worker], options: argparse.Namespace, result: Result
) -> None:
    """Let the fleet report and obey for a while."""
    stage.controller.ask()
    before, sent = stage.usage(), _said(crowds)
    started_s = time.monotonic()
    result.commands = _command(stage, options.commands_per_s, options.seconds)
    took_s = time.monotonic() - started_s
    result.messages_per_s = round((_said(crowds) - sent) / took_s, 1)
    costs = _costs(before, stage.usage(), took_s)
    result.controller, result.broker = costs["controller"], costs["broker"]
    _await(lambda: stage.controller.ask()["unanswered"] == 0, "commands are answered", 30.0)
    told = stage.controller.ask()
    result.unanswered, result.answered_ms = told["unanswered"], _percentiles(told["taken_ms"])


def _command(stage: Stage, per_s: float, seconds: float) -> int:
    """Send commands evenly, to devices all over the fleet; return how many."""
    desk = CommandDesk(stage.folder / "counters.json")
    signer, count = CryptoSigner.generate_ed25519(), max(1, int(per_s * seconds))
    started_s = time.monotonic()
    for number in range(count):
        device = stage.names[number * 7919 % len(stage.names)]
        order = Order("status", {}, f"d/{device}")
        command = desk.issue(order, "alice", [signer], 0)
        time.sleep(max(0.0, started_s + number / per_s - time.monotonic()))
        stage.controller.tell(f"command {device} {command.envelope.decode()} {command.id}")
    time.sleep(max(0.0, started_s + seconds - time.monotonic()))
    return count


def _storm(stage: Stage, size: int, result: Result) -> None:
    """Take the broker away under everybody, and wait until all are back."""
    before, started_s = stage.usage(), time.monotonic()
    stage.stop_broker()
    stage.controller.ask("mark")
    stage.start_broker()
    _await(lambda: stage.controller.ask()["fresh"] == size, "all devices are back")
    result.storm_s = round(time.monotonic() - started_s, 2)
    costs = _costs(before, stage.usage(), result.storm_s)
    result.storm = {"controller": costs["controller"]}


def _count(stage: Stage, crowds: list[Worker], result: Result) -> None:
    """Let everybody finish, then compare what was sent with what came."""
    for crowd in crowds:
        crowd.ask("hush")
    _await(lambda: all(crowd.ask()["waiting"] == 0 for crowd in crowds), "all is acknowledged")
    result.sent = sum(crowd.ask()["measurements"] for crowd in crowds)

    def came() -> bool:
        return int(stage.controller.ask()["measurements"]) >= result.sent

    _await(came, "all measurements came", 20.0)
    told = stage.controller.ask()
    result.lost, result.repeated = result.sent - told["measurements"], told["repeated"]


def _said(crowds: list[Worker]) -> int:
    told = [crowd.ask() for crowd in crowds]
    return sum(one["states"] + one["measurements"] for one in told)


def _costs(
    before: dict[str, tuple[float, float]], after: dict[str, tuple[float, float]], took_s: float
) -> dict[str, Cost]:
    """Return each process's cost between two looks; one that was started in between counts from its start."""
    costs = {}
    for name, (cpu_s, rss_mb) in after.items():
        used_s = cpu_s - before[name][0] if cpu_s >= before[name][0] else cpu_s
        costs[name] = Cost(round(100 * used_s / took_s, 1), round(rss_mb, 1))
    return costs


def _percentiles(taken_ms: list[float]) -> dict[str, float]:
    if len(taken_ms) < 2:  # noqa: PLR2004 - quantiles need two
        return {}
    cuts = statistics.quantiles(taken_ms, n=100, method="inclusive")
    named = {"p50": cuts[49], "p95": cuts[94], "p99": cuts[98], "max": max(taken_ms)}
    return {name: round(value, 1) for name, value in named.items()}


def _await(condition: Callable[[], Any], what: str, patience_s: float = _PATIENCE_S) -> None:
    """Wait for something; what does not happen is said and shows in the figures."""
    deadline_s = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > deadline_s:
            print(f"not within {patience_s:.0f} s: {what}", file=sys.stderr)
            return
        time.sleep(0.1)


if __name__ == "__main__":
    try:
        main()
    except subprocess.SubprocessError as error:
        sys.exit(f"simulate_fleet: {error}")
