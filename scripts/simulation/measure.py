"""Fleets of growing size on a real mosquitto and the real controller: what each costs, what gets lost, how long commands take.

python scripts/simulation/measure.py OUT [--sizes 100,1000] [--seconds 60] [--rollout-mb 3] [--no-storm] [--plaintext]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from fetching import Shop
from figures import Result, costs_of, percentiles
from plot import draw
from securesystemslib.signer import CryptoSigner
from shelf import Shelf
from stage import Stage, allow_files

from agent.fleet.operators import CommandDesk, Order

_CROWD = 2500  # devices in one process
_ANSWER_S = 30.0


def main() -> None:
    """Measure every size and write `fleet.json` and `fleet.png`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--sizes", default="100,1000")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--interval", type=float, default=10.0, help="between two reports, seconds")
    parser.add_argument("--commands-per-s", type=float, default=10.0)
    parser.add_argument("--joins-per-s", type=float, default=200.0)
    parser.add_argument(
        "--patience", type=float, default=180.0, help="for all to join, come back, finish; seconds"
    )
    parser.add_argument("--no-storm", action="store_true", help="leave the broker alone")
    parser.add_argument("--rollout-mb", type=float, default=0.0, help="roll out a release")
    parser.add_argument(
        "--rollout-patience", type=float, default=300.0, help="for all to have the release, seconds"
    )
    parser.add_argument(
        "--mqtt-percent", type=int, default=2, help="of the devices reach no web server"
    )
    parser.add_argument("--plaintext", action="store_true")
    parser.add_argument(
        "--nats", action="store_true", help="three nodes of NATS, in plain text; one is killed"
    )
    options = parser.parse_args()
    options.plaintext |= options.nats
    options.out.mkdir(parents=True, exist_ok=True)
    sizes = [int(size) for size in options.sizes.split(",")]
    allow_files(max(sizes))
    results: list[Result] = []
    for size in sizes:
        results.append(measure(size, options))
        print(json.dumps(asdict(results[-1])), flush=True)
        _write(results, options)  # after every size: a later one may fail


def _write(results: list[Result], options: argparse.Namespace) -> None:
    document = {
        "cores": os.cpu_count(),
        "seconds": options.seconds,
        "results": [asdict(result) for result in results],
    }
    (options.out / "fleet.json").write_text(json.dumps(document, indent=2) + "\n")
    draw(document["results"], options.out / "fleet.png")


def measure(size: int, options: argparse.Namespace) -> Result:
    """Return the figures of one fleet of `size` devices."""
    broker = "nats" if options.nats else "mosquitto"
    result = Result(size, options.interval, broker, tls=not options.plaintext)
    with (
        tempfile.TemporaryDirectory(prefix="vigil-fleet-") as folder,
        Stage(Path(folder), size, tls=not options.plaintext, nats=options.nats) as stage,
    ):
        run = Run(stage, options, result)
        shelf = Shelf(stage, options.rollout_mb) if options.rollout_mb else None
        run.join(shelf.shop(options.mqtt_percent) if shelf else None)
        run.steady()
        if shelf:
            run.roll_out(shelf)
        if not options.no_storm:
            run.storm()
        run.count()
    result.load.append(os.getloadavg()[0])
    return result


class Run:
    """One fleet's way through the measurement; every step leaves its figures in `result`."""

    def __init__(self, stage: Stage, options: argparse.Namespace, result: Result) -> None:
        self._stage, self._options, self._result = stage, options, result

    def join(self, shop: Shop | None) -> None:
        """Start all devices and wait until the controller saw every one."""
        stage, options = self._stage, self._options
        stage.controller.ask("mark")  # answers once it serves
        began_s = time.monotonic()
        groups = [
            stage.names[start : start + _CROWD] for start in range(0, len(stage.names), _CROWD)
        ]
        for group in groups:
            stage.crowd(group, options.interval, options.joins_per_s / len(groups), shop)
        self._await_all("seen")
        self._result.joined_s = round(time.monotonic() - began_s, 2)

    def steady(self) -> None:
        """Let the fleet report and obey for a while."""
        stage, options, result = self._stage, self._options, self._result
        stage.controller.ask()
        before, sent = stage.usage(), _said(stage)
        started_s = time.monotonic()
        result.commands = _command(stage, options.commands_per_s, options.seconds)
        took_s = time.monotonic() - started_s
        result.messages_per_s = round((_said(stage) - sent) / took_s, 1)
        costs = costs_of(before, stage.usage(), took_s)
        result.controller, result.broker = costs["controller"], costs["broker"]
        result.simulator = costs["devices"]
        self._await(
            lambda: stage.controller.ask()["unanswered"],
            "commands that were not answered",
            _ANSWER_S,
        )
        told = stage.controller.ask()
        result.unanswered, result.answered_ms = told["unanswered"], percentiles(told["taken_ms"])

    def roll_out(self, shelf: Shelf) -> None:
        """Have the controller bring the release to everybody, wave by wave."""
        stage, campaign = self._stage, shelf.begin()
        before, started_s = stage.usage() | shelf.usage(), time.monotonic()
        self._await(campaign.missing, "devices without the release", self._options.rollout_patience)
        took_s = time.monotonic() - started_s
        costs = costs_of(before, stage.usage() | shelf.usage(), took_s)
        figures = campaign.figures(took_s)
        if figures["standing"] == "halted":
            self._late(f"the roll-out halted: {figures['reason']}")
        self._result.rollout = {
            **figures,
            "cost": {name: asdict(cost) for name, cost in costs.items()},
        }

    def storm(self) -> None:
        """Take the broker away under everybody, or kill a node of it, and wait until all are back."""
        stage, result = self._stage, self._result
        before, started_s = stage.usage(), time.monotonic()
        stage.disturb(lambda: stage.controller.ask("mark"))
        result.away_s = round(time.monotonic() - started_s, 2)
        self._await(
            lambda: len(stage.names) - sum(crowd.ask()["connected"] for crowd in stage.crowds),
            "devices that were not connected again",
            self._options.patience,
        )
        result.connected_s = round(time.monotonic() - started_s, 2)
        self._await_all("back")
        result.storm_s = round(time.monotonic() - started_s, 2)
        costs = costs_of(before, stage.usage(), result.storm_s)
        result.storm = {name: costs[name] for name in ("controller", "devices")}

    def count(self) -> None:
        """Let everybody finish, then compare what was sent with what came."""
        stage, result = self._stage, self._result
        for crowd in stage.crowds:
            crowd.ask("hush")
        self._await(
            lambda: sum(crowd.ask()["waiting"] for crowd in stage.crowds),
            "messages that were not acknowledged",
            self._options.patience,
        )
        result.sent = sum(crowd.ask()["measurements"] for crowd in stage.crowds)
        self._await(
            lambda: max(0, result.sent - stage.controller.ask()["measurements"]),
            "measurements that did not come",
            _ANSWER_S,
        )
        result.refused = sum(crowd.ask()["refused"] for crowd in stage.crowds)
        told = stage.controller.ask()
        result.lost, result.repeated = result.sent - told["measurements"], told["repeated"]

    def _await_all(self, what: str) -> None:
        size = len(self._stage.names)
        self._await(
            lambda: size - self._stage.controller.ask()["fresh"],
            f"devices that were not {what}",
            self._options.patience,
        )

    def _await(self, missing: Callable[[], int], what: str, patience_s: float) -> None:
        """Wait until nothing is missing; what does not happen in time is said and shows in the figures."""
        began_s = time.monotonic()
        while left := missing():
            self._stage.check()
            if time.monotonic() - began_s > patience_s:
                self._late(f"after {patience_s:.0f} s: {left} {what}")
                return
            time.sleep(0.1)
        self._say(f"waited {time.monotonic() - began_s:.1f} s for {what}")

    def _late(self, what: str) -> None:
        self._result.late.append(what)
        self._say(what)

    def _say(self, what: str) -> None:
        print(f"{self._result.devices} devices: {what}", file=sys.stderr, flush=True)


def _command(stage: Stage, per_s: float, seconds: float) -> int:
    """Send commands evenly, to devices all over the fleet; return how many."""
    desk = CommandDesk(stage.folder / "counters.json")
    signer, count = CryptoSigner.generate_ed25519(), max(1, int(per_s * seconds))
    started_s = time.monotonic()
    for number in range(count):
        device = stage.names[number * 7919 % len(stage.names)]
        order = Order("status", {}, f"d/{device}")
        command = desk.issue(order, "ada", [signer], 0)
        time.sleep(max(0.0, started_s + number / per_s - time.monotonic()))
        stage.controller.tell(f"command {device} {command.envelope.decode()} {command.id}")
    time.sleep(max(0.0, started_s + seconds - time.monotonic()))
    return count


def _said(stage: Stage) -> int:
    told = [crowd.ask() for crowd in stage.crowds]
    return sum(one["states"] + one["measurements"] for one in told)


if __name__ == "__main__":
    try:
        main()
    except subprocess.SubprocessError as error:
        sys.exit(f"simulate_fleet: {error}")
