"""Replies: what became of a command, told to its sender and written to the ledger."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from agent.errors import CommandError, StorageError, VigilError
from agent.host.clock import wall_ms
from agent.schema.document import ready, to_json
from agent.schema.messages import MESSAGE_VERSION, CommandBody, Reply, ReplyStatus
from agent.trust.ledger import Ledger

logger = logging.getLogger(__name__)

T = TypeVar("T")
_ENDS = frozenset({ReplyStatus.SUCCEEDED, ReplyStatus.FAILED})


@dataclass(frozen=True)
class Replies:
    """Makes repliers; also for commands of a previous life, whose work another thread took up again.

    Attributes:
        device: This device's id.
        ledger: Where the steps of admitted commands are recorded.
        publish: Hands the JSON of a reply to the spool; must not block.
    """

    device: str
    ledger: Ledger
    publish: Callable[[bytes], None]

    def of(self, command_id: str, cmd: str) -> Replier:
        """Return the replier of one admitted command."""
        return Replier(self, command_id, cmd)

    def send(self, command_id: str, cmd: str, status: ReplyStatus, **content: Any) -> None:
        """Publish one reply; `content` holds `code`, `message` and `data` where they say something."""
        reply = Reply(
            v=MESSAGE_VERSION,
            device=self.device,
            id=command_id,
            cmd=cmd,
            status=status,
            at_ms=wall_ms(),
            **content,
        )
        self.publish(to_json(reply))


class Replier:
    """Tells the sender of one command how it goes. Any thread may use it; after the end it is silent."""

    def __init__(self, replies: Replies, command_id: str, cmd: str) -> None:
        self._replies = replies
        self._id = command_id
        self._cmd = cmd
        self._ended = False
        self._lock = threading.Lock()

    def accepted(self) -> None:
        """Say that the command is admitted and will be carried out."""
        self._tell(ReplyStatus.ACCEPTED)

    def running(self, message: str, **data: Any) -> None:
        """Say how far it is; `data` is a part of the result."""
        self._tell(ReplyStatus.RUNNING, message=message, data=data)

    def succeeded(self, **data: Any) -> None:
        """Say that it is done; `data` is the result, as JSON can hold it."""
        self._tell(ReplyStatus.SUCCEEDED, data=data)

    def failed(self, error: VigilError, **data: Any) -> None:
        """Say why it could not be done; `data` is what was found all the same."""
        self._tell(ReplyStatus.FAILED, code=error.code, message=str(error), data=data)

    def _tell(self, status: ReplyStatus, **content: Any) -> None:
        with self._lock:
            if self._ended:
                logger.warning("command %s: %s after its end", self._id, status.value)
                return
            self._ended = status in _ENDS
            if self._ended:
                self._record(status, content.get("code", ""))
            self._replies.send(self._id, self._cmd, status, **content)

    def _record(self, status: ReplyStatus, code: str) -> None:
        # Before the reply: one that is lost with the power is better than one that is taken back.
        try:
            self._replies.ledger.finish(self._id, status, code, wall_ms())
        except StorageError as error:
            logger.error("end of command %s not recorded: %s", self._id, error)


def arguments(body: CommandBody, kind: type[T]) -> T:
    """Read a command's arguments as the struct `kind`.

    Raises:
        CommandError: `command.arguments`, naming what was expected and found.
    """
    try:
        return msgspec.convert(body.args, ready(kind))
    except msgspec.ValidationError as error:
        message = f"arguments of {body.cmd}: {error}"
        raise CommandError(message, code="command.arguments") from error
