"""Logs: native fields to systemd's journal where it listens, plain lines elsewhere; no passwords of URLs in either.

Source: systemd, "Native Journal Protocol" (one datagram of fields to `/run/systemd/journal/socket`), and
sd-daemon(3) / systemd.exec(5) for `$JOURNAL_STREAM`: device and inode of the stream that leads to the journal.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import struct
import sys
from pathlib import Path

from agent.errors import VigilError
from agent.host.redaction import redacted

JOURNAL = Path("/run/systemd/journal/socket")
PLAIN = "%(asctime)s %(levelname)-7s %(threadName)s %(name)s: %(message)s"
_MAX_BYTES = 32 * 1024  # more than fits a datagram would need a memfd
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_DEBUG = 7
_CODE = re.compile(r"\[([a-z0-9_]+(?:\.[a-z0-9_]+)+)\]")


class RedactingFormatter(logging.Formatter):
    """A formatter that leaves secrets out."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record."""
        return redacted(super().format(record))


class JournalHandler(logging.Handler):
    """Sends records to the journal as fields; a journal that is away costs the record and nothing else.

    Args:
        path: The journal's socket.
        identifier: What the journal calls this program.
    """

    def __init__(self, path: Path = JOURNAL, identifier: str = "vigil") -> None:
        super().__init__()
        self._path, self._identifier = str(path), identifier
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)  # noqa: FBT003 - its name is its meaning
        self.setFormatter(RedactingFormatter("%(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record."""
        try:
            self._socket.sendto(_datagram(self._fields(record)), self._path)
        except OSError:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Say it on the standard error stream instead, which leads to the journal, too."""
        sys.stderr.write(f"<{_priority(record.levelno)}>{self.format(record)}\n")

    def _fields(self, record: logging.LogRecord) -> dict[str, str]:
        fields = {
            "MESSAGE": self.format(record)[:_MAX_BYTES],
            "PRIORITY": str(_priority(record.levelno)),
            "SYSLOG_IDENTIFIER": self._identifier,
            "LOGGER": record.name,
            "THREAD_NAME": record.threadName or "",
            "CODE_FILE": record.pathname,
            "CODE_LINE": str(record.lineno),
            "CODE_FUNC": record.funcName or "",
            "VIGIL_CODE": code_of(record),
        }
        return {name: value for name, value in fields.items() if value}


def set_up_logs(level: str, identifier: str = "vigil", journal: Path = JOURNAL) -> None:
    """Log to the journal where the standard error stream leads there, else as plain lines to that stream."""
    handler: logging.Handler
    if _leads_to_journal() and journal.exists():
        handler = JournalHandler(journal, identifier)
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(RedactingFormatter(PLAIN))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def code_of(record: logging.LogRecord) -> str:
    """Return the stable code of the error that a record tells of, empty without one."""
    told = list(record.args) if isinstance(record.args, tuple) else []
    if record.exc_info:
        told.append(record.exc_info[1])
    for one in told:
        if isinstance(one, VigilError):
            return one.code
    found = _CODE.search(record.getMessage())
    return found[1] if found else ""


def _leads_to_journal() -> bool:
    try:
        device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
        stream = os.fstat(sys.stderr.fileno())
        return (stream.st_dev, stream.st_ino) == (int(device), int(inode))
    except (ValueError, OSError):
        return False


def _priority(level: int) -> int:
    return next((priority for least, priority in _PRIORITIES if level >= least), _DEBUG)


def _datagram(fields: dict[str, str]) -> bytes:
    parts = []
    for name, value in fields.items():
        data = value.encode(errors="replace")
        if b"\n" in data:
            parts.append(name.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n")
        else:
            parts.append(name.encode() + b"=" + data + b"\n")
    return b"".join(parts)
