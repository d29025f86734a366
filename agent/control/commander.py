"""The commander: from the bytes of a command to the reply, in one thread, one command after the other.

Rules
- Retained command messages are ignored: a command is an act, not a state.
- `trust.policy` decides, the ledger admits durably, and only then does the handler run: at most once.
- Whatever is refused leaves an audit row and a `failed` reply. The reply names the command only when
  its id was never admitted: a replay must not speak for the original.
- A handler returns at once; long work goes to another thread, which keeps the replier.

    commander = Commander(identity, replies, PolicyFile(path), handlers)
    for topic in commander.topics(topics):
        link.subscribe(Subscription(topic, commander.receive))
    commander.report_interrupted(resumed={update_command_id})
    commander.run(stop)
"""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import queue
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from agent.control.replies import Replier, Replies
from agent.errors import CommandError, StorageError, TrustError, VigilError
from agent.host.clock import wall_ms
from agent.schema.messages import COMMAND_MAX_BYTES, CommandBody, Policy, ReplyStatus
from agent.trust.policy import Authorised, Situation, authorise

if TYPE_CHECKING:
    import threading

    from agent.control.link.traffic import Incoming
    from agent.schema.topics import DeviceTopics

logger = logging.getLogger(__name__)

Handler: TypeAlias = Callable[[CommandBody, Replier], None]
QUEUE_COMMANDS = 64
_WAIT_S = 0.2
_ID = re.compile(r"[0-9A-Za-z_-]{8,64}")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


def _wall_s() -> int:
    return wall_ms() // 1000


@dataclass(frozen=True)
class Audience:
    """Whom this device answers to: its id and groups. `now_s` is Unix time, never below the stored floor."""

    device: str
    groups: frozenset[str] = frozenset()
    now_s: Callable[[], int] = _wall_s


class Commander:
    """Runs commands.

    Args:
        audience: Which commands are meant for this device, and the time they are judged by.
        replies: Where replies go; its ledger is the one that admits.
        policy: Returns the current policy or raises `TrustError`.
        handlers: What to do for each command name. A handler may raise `VigilError`.
    """

    def __init__(
        self,
        audience: Audience,
        replies: Replies,
        policy: Callable[[], Policy],
        handlers: Mapping[str, Handler],
    ) -> None:
        self._audience = audience
        self._replies = replies
        self._ledger = replies.ledger
        self._policy = policy
        self._handlers = handlers
        self._queue: queue.Queue[bytes] = queue.Queue(QUEUE_COMMANDS)

    def topics(self, topics: DeviceTopics) -> tuple[str, ...]:
        """Return the topics that commands for this device come on."""
        groups = sorted(self._audience.groups)
        return (topics.command, *(topics.group_command(group) for group in groups))

    def receive(self, message: Incoming) -> None:
        """Take a message from the network thread; never blocks."""
        if message.retained:
            logger.warning("%s: retained command ignored; remove it from the broker", message.topic)
            return
        try:
            # One byte more than is allowed is enough to be refused for its size.
            self._queue.put_nowait(message.payload[: COMMAND_MAX_BYTES + 1])
        except queue.Full:
            logger.error("%s: more commands than can be judged, one dropped", message.topic)

    def report_interrupted(self, resumed: Collection[str] = ()) -> None:
        """Reply `failed` to what the previous life left open, except to what was `resumed`."""
        for command in self._ledger.unfinished():
            if command.id not in resumed:
                error = CommandError("the agent stopped meanwhile", code="command.interrupted")
                self._replies.of(command.id, command.cmd).failed(error)

    def run(self, stop: threading.Event) -> None:
        """Carry out commands until `stop`."""
        while not stop.is_set():
            with contextlib.suppress(queue.Empty):
                self.execute(self._queue.get(timeout=_WAIT_S))

    def execute(self, data: bytes) -> None:
        """Judge one envelope and carry it out; every outcome ends in the audit record and a reply."""
        try:
            authorised = self._admit(data)
        except (TrustError, StorageError) as error:
            self._refuse(data, error)
            return
        body = authorised.body
        replier = self._replies.of(body.id, body.cmd)
        replier.accepted()
        try:
            self._handler(body)(body, replier)
        except VigilError as error:
            replier.failed(error)

    def _admit(self, data: bytes) -> Authorised:
        situation = Situation(
            device=self._audience.device,
            groups=self._audience.groups,
            now_s=self._audience.now_s(),
            last_counter=self._ledger.last_counter,
            seen=self._ledger.seen,
        )
        authorised = authorise(data, self._policy(), situation)
        self._ledger.admit(authorised, wall_ms())
        return authorised

    def _handler(self, body: CommandBody) -> Handler:
        try:
            return self._handlers[body.cmd]
        except KeyError:
            message = f"this agent does not know the command {body.cmd!r}"
            raise CommandError(message, code="command.unknown") from None

    def _refuse(self, data: bytes, error: VigilError) -> None:
        logger.warning("command refused: %s [%s]", error, error.code)
        command_id, cmd = claimed(data)
        about = "" if self._admitted_before(command_id) else command_id
        try:
            self._ledger.refuse(error.code, str(error), wall_ms())
        except StorageError as broken:
            logger.error("refusal not recorded: %s", broken)
        content = {"code": error.code, "message": str(error)}
        self._replies.send(about, cmd, ReplyStatus.FAILED, **content)

    def _admitted_before(self, command_id: str) -> bool:
        try:
            return self._ledger.seen(command_id)
        except StorageError:
            return True


def claimed(data: bytes) -> tuple[str, str]:
    """Return the id and name that an unverified envelope claims, each empty when it cannot be read."""
    if len(data) > COMMAND_MAX_BYTES:
        return "", ""
    try:
        body: Any = json.loads(base64.b64decode(json.loads(data)["payload"], validate=True))
        return _matching(_ID, body["id"]), _matching(_NAME, body["cmd"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return "", ""


def _matching(pattern: re.Pattern[str], value: object) -> str:
    return value if isinstance(value, str) and pattern.fullmatch(value) else ""
