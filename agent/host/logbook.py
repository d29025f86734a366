"""The newest lines of this process's log, redacted and in memory, for whoever may ask for them."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass

from agent.host.redaction import redacted

MAX_LINES = 2000
MAX_LINE_CHARACTERS = 2000
_TRACE = logging.Formatter()


@dataclass(frozen=True)
class LogLine:
    """One line; `level` is logging's number, `at_ms` Unix milliseconds."""

    at_ms: int
    level: int
    thread: str
    source: str
    text: str

    def __str__(self) -> str:
        level = logging.getLevelName(self.level)
        return f"{self.at_ms} {level} {self.thread} {self.source}: {self.text}"


class Logbook(logging.Handler):
    """Remembers the last `max_lines` lines, each cut to a bounded length."""

    def __init__(self, max_lines: int = MAX_LINES) -> None:
        super().__init__()
        self._lines: deque[LogLine] = deque(maxlen=max_lines)

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line from whichever thread logs it."""
        text = record.getMessage()
        if record.exc_info:
            text = f"{text}\n{_TRACE.formatException(record.exc_info)}"
        line = LogLine(
            at_ms=int(record.created * 1000),
            level=record.levelno,
            thread=str(record.threadName),
            source=record.name,
            text=redacted(text)[:MAX_LINE_CHARACTERS],
        )
        self._lines.append(line)

    def newest(self, least_level: int = logging.NOTSET, since_ms: int = 0) -> list[LogLine]:
        """Return the lines of at least that level and not older than `since_ms`, newest first."""
        self.acquire()  # logging's own lock, which it holds around `emit`
        try:
            # A thread may have made its line before another did, and handed it in after.
            lines = sorted(self._lines, key=lambda line: line.at_ms)
        finally:
            self.release()
        return [
            line for line in reversed(lines) if line.level >= least_level and line.at_ms >= since_ms
        ]
