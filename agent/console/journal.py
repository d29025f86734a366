"""The agent's own log as the page shows it: its newest lines, without secrets.

What a library or a message lets slip is taken out before it is kept (`agent.host.redaction`).
"""

from __future__ import annotations

import logging
import threading
from collections import deque

from agent.host.redaction import redacted
from agent.schema.values import Struct

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
LINES = 500
MAX_CHARS = 600


class Line(Struct):
    """One line: `level` as Python's logging names it, in lower case; `source` the module that said it."""

    number: int
    at_ms: int
    level: str
    source: str
    thread: str
    message: str


class LogMemory(logging.Handler):
    """Keeps the newest `LINES` of the log; any thread may log and read."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: deque[Line] = deque(maxlen=LINES)
        self._count = 0
        self._reading = threading.Lock()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line."""
        try:
            message = record.getMessage()
            if record.exc_info and record.exc_info[1] is not None:
                message += f" ({type(record.exc_info[1]).__name__}: {record.exc_info[1]})"
        except (TypeError, ValueError):
            message = f"{record.msg!s} (its values do not fit)"
        with self._reading:
            self._count += 1
            line = Line(
                number=self._count,
                at_ms=int(record.created * 1000),
                level=record.levelname.lower(),
                source=record.name,
                thread=record.threadName or "",
                message=redacted(message)[:MAX_CHARS],
            )
            self._lines.append(line)

    def since(self, number: int, level: str = "debug") -> tuple[int, list[Line]]:
        """Return the newest line's number, and the lines after `number` of at least `level`.

        A `number` from the future (a reader that outlived this process) gives everything.
        """
        with self._reading:
            lines, count = list(self._lines), self._count
        after = number if number <= count else 0
        least = LEVELS[level]
        heavy = [line for line in lines if LEVELS.get(line.level, least) >= least]
        return count, [line for line in heavy if line.number > after]
