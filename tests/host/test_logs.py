"""Logs as systemd's journal gets them, over a real socket, and as everybody else does."""

from __future__ import annotations

import logging
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.errors import StorageError
from agent.host.logs import JournalHandler

LOGGER = "agent.test_logs"


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "journal"))
        listener.settimeout(60)
        yield listener


@pytest.fixture
def log(journal: socket.socket) -> Iterator[logging.Logger]:
    logger = logging.getLogger(LOGGER)
    handler = JournalHandler(Path(journal.getsockname()))
    logger.addHandler(handler)
    yield logger
    logger.removeHandler(handler)


def fields(data: bytes) -> dict[str, str]:
    """Take a datagram apart as journald does."""
    found = {}
    while data:
        line, _, rest = data.partition(b"\n")
        name, has_value, value = line.partition(b"=")
        if has_value:
            found[name.decode()], data = value.decode(), rest
        else:
            (length,) = struct.unpack("<Q", rest[:8])
            found[name.decode()], data = rest[8 : 8 + length].decode(), rest[9 + length :]
    return found


def test_a_record_has_level_place_and_code_as_fields(
    journal: socket.socket, log: logging.Logger
) -> None:
    log.warning("update stops: %s", StorageError("disk full", code="storage.full"))
    found = fields(journal.recv(65536))
    assert found["MESSAGE"] == "update stops: disk full"
    assert found["PRIORITY"] == "4"
    assert found["VIGIL_CODE"] == "storage.full"
    assert found["SYSLOG_IDENTIFIER"] == "vigil"
    assert found["LOGGER"] == LOGGER
    assert found["CODE_FILE"] == __file__
    assert found["CODE_FUNC"].startswith("test_a_record")


def test_a_code_in_brackets_is_a_field_too(journal: socket.socket, log: logging.Logger) -> None:
    log.error("%s", StorageError("gone", code="storage.missing", hint="look").diagnostics())
    assert fields(journal.recv(65536))["VIGIL_CODE"] == "storage.missing"


def test_a_traceback_of_many_lines_arrives_whole(
    journal: socket.socket, log: logging.Logger
) -> None:
    try:
        _fail()
    except RuntimeError:
        log.exception("loop crashed")
    found = fields(journal.recv(65536))
    assert found["MESSAGE"].startswith("loop crashed\nTraceback")
    assert found["MESSAGE"].endswith("a\nb=c")
    assert "b" not in found, "a line of a message is no field"


def _fail() -> None:
    raise RuntimeError("a\nb=c")


def test_passwords_of_urls_are_left_out(journal: socket.socket, log: logging.Logger) -> None:
    log.error("camera rtsp://admin:s3cret@10.0.0.2/live failed")
    message = fields(journal.recv(65536))["MESSAGE"]
    assert message == "camera rtsp://…@10.0.0.2/live failed"


def test_a_journal_that_is_gone_costs_nobody_anything(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    handler = JournalHandler(tmp_path / "nobody")
    handler.handle(logging.makeLogRecord({"msg": "hello", "levelno": logging.ERROR}))
    assert capfd.readouterr().err == "<3>hello\n"


@pytest.mark.parametrize("leads", [True, False])
def test_the_journal_is_used_only_where_stderr_leads_there(
    journal: socket.socket, tmp_path: Path, *, leads: bool
) -> None:
    stream = tmp_path / "stderr"
    with stream.open("wb") as stderr:
        status = os.fstat(stderr.fileno())
        inode = status.st_ino + (0 if leads else 1)
        program = (
            "import logging, pathlib, sys; from agent.host.logs import set_up_logs;"
            "set_up_logs('info', journal=pathlib.Path(sys.argv[1])); logging.info('here I am')"
        )
        subprocess.run(
            [sys.executable, "-c", program, journal.getsockname()],
            stderr=stderr,
            env={**os.environ, "JOURNAL_STREAM": f"{status.st_dev}:{inode}"},
            check=True,
        )
    if leads:
        assert fields(journal.recv(65536))["MESSAGE"] == "here I am"
    else:
        assert stream.read_text().endswith("root: here I am\n")
