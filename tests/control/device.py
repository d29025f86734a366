"""A device that takes commands, as far as the tests of commands need one."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

from agent.control.builtin import builtin_handlers
from agent.control.commander import Audience, Commander
from agent.control.link import Link, Subscription
from agent.control.policy_file import PolicyFile
from agent.control.replies import Replier, Replies, arguments
from agent.errors import CommandError
from agent.schema.document import parse_json, to_json
from agent.schema.messages import CommandBody, DeployArgs, Reply, State, Telemetry
from agent.trust.ledger import Ledger
from tests.control.world import DEVICE, TOPICS, Observer, People, plain, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.parts.broker import Broker

PEOPLE = People()
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
        self._thread.join(60)
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
