"""When the outbox writes, and how much: synchronously, in groups, and not at all what is soon acknowledged."""

from __future__ import annotations

import sqlite3
import subprocess
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from agent.host.processes import written_bytes
from agent.schema.reporting import OutboxConfig
from agent.telemetry.outbox import PATIENCE_S, Outbox
from agent.telemetry.spool import Priority

if TYPE_CHECKING:
    from pathlib import Path

LIMITS = OutboxConfig()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


@pytest.fixture
def now_s(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the clock that tells how long a message waits shows, last; it stands still."""
    shown = [time.monotonic()]
    clock = SimpleNamespace(monotonic=lambda: shown[-1])
    monkeypatch.setattr("agent.telemetry.outbox.time", clock)
    return shown


def fill(outbox: Outbox, *numbers: int, priority: Priority = Priority.EVENT) -> None:
    for number in numbers:
        outbox.put("topic", b"%d" % number, priority)


def test_many_puts_are_one_transaction(path: Path) -> None:
    outbox = Outbox(path, LIMITS)
    statements: list[str] = []
    outbox._spool._database.set_trace_callback(statements.append)
    fill(outbox, *range(50))
    outbox.commit()
    outbox.done([one.id for one in outbox.batch(50)])
    assert statements.count("COMMIT") == 2


def test_what_is_acknowledged_soon_is_never_written(path: Path, now_s: list[float]) -> None:
    outbox = Outbox(path, LIMITS)
    statements: list[str] = []
    outbox._spool._database.set_trace_callback(statements.append)
    fill(outbox, *range(50))
    outbox.commit_due()
    outbox.done([one.id for one in outbox.batch(50)])
    assert outbox.size == 0
    assert statements.count("COMMIT") == 0


@pytest.mark.parametrize("priority", list(Priority))
def test_an_alert_is_written_at_once_and_the_rest_when_it_waited_long_enough(
    path: Path, now_s: list[float], priority: Priority
) -> None:
    outbox = Outbox(path, LIMITS)
    fill(outbox, 1, priority=priority)
    outbox.commit_due()
    assert outbox._spool.rows == (1 if priority is Priority.ALERT else 0)
    now_s.append(now_s[-1] + PATIENCE_S[priority])
    outbox.commit_due()
    assert outbox._spool.rows == 1


def test_the_bytes_that_reach_the_disk_are_counted(path: Path) -> None:
    outbox = Outbox(path, LIMITS)
    if written_bytes("thread-self") is None:
        pytest.skip("this kernel does not count the bytes that a thread writes")
    if subprocess.run(
        ["stat", "-f", "-c", "%T", str(path.parent)], check=True, capture_output=True, text=True
    ).stdout.strip() in {"tmpfs", "ramfs"}:
        pytest.skip("the test's folder is in memory, where nothing is written to a disk")
    for _ in range(10):
        outbox.put("topic", bytes(8000), Priority.EVENT)
    outbox.commit()
    assert (outbox.written_bytes or 0) >= 80_000


def test_putting_does_not_wait_for_the_disk(path: Path) -> None:
    outbox = Outbox(path, LIMITS)
    fill(outbox, 1)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    writer = threading.Thread(target=outbox.commit)
    writer.start()
    fill(outbox, 2)
    assert writer.is_alive()
    other.execute("ROLLBACK")
    writer.join(60)
    assert [one.payload for one in outbox.batch(9)] == [b"1", b"2"]


def test_every_commit_is_synchronous(path: Path) -> None:
    database: sqlite3.Connection = Outbox(path, LIMITS)._spool._database
    assert database.execute("pragma synchronous").fetchone() == (2,)
    assert database.execute("pragma journal_mode").fetchone() == ("wal",)
