"""Commands that take a while, one after the other, in a thread of their own."""

from __future__ import annotations

import contextlib
import queue
import threading
from typing import TYPE_CHECKING

from agent.errors import CommandError, VigilError

if TYPE_CHECKING:
    from agent.control.commander import Handler
    from agent.control.replies import Replier
    from agent.schema.messages import CommandBody

WAITING = 4
_WAIT_S = 0.2


class Errands:
    """Carries out what handlers leave to it; what the agent's end cuts off is reported as interrupted."""

    def __init__(self) -> None:
        self._queue: queue.Queue[tuple[Handler, CommandBody, Replier]] = queue.Queue(WAITING)
        self._stop = threading.Event()

    def handler(self, work: Handler) -> Handler:
        """Return a handler that leaves `work` to this thread; `command.busy` when too many wait."""

        def leave(body: CommandBody, replier: Replier) -> None:
            try:
                self._queue.put_nowait((work, body, replier))
            except queue.Full:
                message = f"{WAITING} other commands wait for their turn"
                raise CommandError(message, code="command.busy") from None

        return leave

    def pause(self, wait_s: float) -> None:
        """Wait in the middle of a work; raises `CommandError` `command.interrupted` when the agent stops."""
        if self._stop.wait(wait_s):
            raise CommandError("the agent stops", code="command.interrupted")

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set."""
        self._stop = stop
        while not stop.is_set():
            with contextlib.suppress(queue.Empty):
                work, body, replier = self._queue.get(timeout=_WAIT_S)
                try:
                    work(body, replier)
                except VigilError as error:
                    replier.failed(error)
