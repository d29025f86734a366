"""The real controller in a process of its own, which counts what it hears and times the commands it is told to send.

python scripts/simulation/watched_controller.py HOME [plain]     `plain` for a broker without TLS; lines on standard input:
`report`, `mark` to count devices anew, or `command DEVICE ENVELOPE ID`
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from agent.fleet.access import CONTROLLER
from agent.fleet.blocks import BlockServer
from agent.fleet.controller import Controller, Services
from agent.fleet.home import open_home
from agent.fleet.keys import KeyService
from agent.fleet.operators import SignedCommand
from agent.fleet.renewal import RenewalService
from agent.fleet.rollout_runner import carrying_out
from agent.host.clock import wall_ms
from agent.schema.messages import Reply, ReplyStatus, State, Telemetry
from agent.schema.topics import ParsedTopic


class Witness:
    """Counts in the network thread; read by the main one."""

    def __init__(self) -> None:
        self.states = self.repeated = 0
        self.fresh: set[str] = set()
        self.mark_ms = 0
        self.seen: dict[str, set[int]] = {}
        self._sent_ns: dict[str, int] = {}
        self.taken_ms: list[float] = []

    def hear(self, topic: ParsedTopic, message: Any) -> None:
        """Take in one message of a device."""
        if isinstance(message, State):
            self.states += 1
            if message.online and message.at_ms >= self.mark_ms:
                self.fresh.add(topic.device)
        elif isinstance(message, Telemetry):
            numbers = self.seen.setdefault(topic.device, set())
            self.repeated += message.seq in numbers
            numbers.add(message.seq)
        elif isinstance(message, Reply) and message.status is ReplyStatus.SUCCEEDED:
            sent_ns = self._sent_ns.pop(message.id, None)
            if sent_ns is not None:
                self.taken_ms.append((time.monotonic_ns() - sent_ns) / 1e6)

    def mark(self) -> None:
        """Count devices from now on: who says a state that was made after this."""
        self.mark_ms, self.fresh = wall_ms(), set()

    def sent(self, command: str) -> None:
        """Note when a command leaves."""
        self._sent_ns[command] = time.monotonic_ns()

    def report(self) -> dict[str, Any]:
        """Return the counts, and the times of all commands, milliseconds."""
        return {
            "states": self.states,
            "fresh": len(self.fresh),
            "measurements": sum(len(numbers) for numbers in list(self.seen.values())),
            "repeated": self.repeated,
            "unanswered": len(self._sent_ns),
            "taken_ms": list(self.taken_ms),
        }


def main() -> None:
    """Serve until standard input ends."""
    home = open_home(Path(sys.argv[1]))
    renewals = RenewalService(home.registry, home.authority, home.life)
    services = Services(KeyService(home.registry), BlockServer(home.repository), renewals)
    broker = home.broker(CONTROLLER)
    if "plain" in sys.argv:
        broker = replace(broker, tls=None, allow_plaintext=True)
    controller, witness = Controller(broker, services, session=home.session()), Witness()
    controller.inbox.observe(witness.hear)
    with carrying_out(home.place, controller):
        controller.start()
        for line in sys.stdin:
            word, *rest = line.split()
            if word == "command":
                device, envelope, identity = rest
                witness.sent(identity)
                controller.send(SignedCommand(identity, f"d/{device}", envelope.encode()))
            else:
                if word == "mark":
                    witness.mark()
                print(json.dumps(witness.report()), flush=True)
    controller.stop()


if __name__ == "__main__":
    main()
