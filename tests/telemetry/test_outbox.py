"""The outbox keeps what is not acknowledged, in order, within bounds, whatever the disk does."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from agent.errors import StorageError
from agent.schema.reporting import OutboxConfig
from agent.telemetry.outbox import (
    MAX_PAYLOAD_BYTES,
    MEMORY_BYTES,
    MEMORY_MESSAGES,
    Outbox,
)
from agent.telemetry.spool import Priority

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIMITS = OutboxConfig()
SMALL = OutboxConfig(max_mb=1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


def fill(outbox: Outbox, *numbers: int, priority: Priority = Priority.EVENT) -> None:
    for number in numbers:
        outbox.put("topic", b"%d" % number, priority)


def payloads(outbox: Outbox, count: int = 1000) -> list[bytes]:
    return [one.payload for one in outbox.batch(count)]


def test_exactly_the_unacknowledged_are_there_after_reopening_in_order(path: Path) -> None:
    outbox = Outbox(path, LIMITS)
    fill(outbox, *range(10))
    batch = outbox.batch(6)
    outbox.done([one.id for one in batch if one.payload not in {b"2", b"4"}])
    fill(outbox, 10)
    outbox.close()
    again = Outbox(path, LIMITS)
    assert payloads(again) == [b"2", b"4", b"6", b"7", b"8", b"9", b"10"]
    assert again.size == 7


def test_what_was_committed_survives_a_kill(path: Path) -> None:
    program = (
        "import os, pathlib, sys\n"
        "from agent.schema.reporting import OutboxConfig\n"
        "from agent.telemetry.outbox import Outbox\n"
        "from agent.telemetry.spool import Priority\n"
        "box = Outbox(pathlib.Path(sys.argv[1]), OutboxConfig())\n"
        "for n in range(20): box.put('t', b'%d' % n, Priority.EVENT)\n"
        "box.commit()\n"
        "box.done([one.id for one in box.batch(5)])\n"
        "box.put('t', b'not committed', Priority.EVENT)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}  # noqa: PTH109
    killed = subprocess.run(
        [sys.executable, "-c", program, str(path)], env=environment, check=False
    )
    assert killed.returncode == -9
    assert payloads(Outbox(path, LIMITS)) == [b"%d" % number for number in range(5, 20)]


def test_urgent_messages_go_first_and_each_kind_in_its_order(path: Path) -> None:
    outbox = Outbox(path, LIMITS)
    fill(outbox, 1, 2, priority=Priority.METRIC)
    fill(outbox, 3, 4, priority=Priority.EVENT)
    outbox.commit()
    fill(outbox, 5, 6, priority=Priority.ALERT)
    assert payloads(outbox) == [b"5", b"6", b"3", b"4", b"1", b"2"]
    assert payloads(outbox, 3) == [b"5", b"6", b"3"]


def test_too_many_bytes_push_out_the_least_urgent_and_oldest(path: Path) -> None:
    outbox = Outbox(path, SMALL)
    big = bytes(MAX_PAYLOAD_BYTES)
    outbox.put("alert", big, Priority.ALERT)
    for number in range(20):
        outbox.put(f"metric/{number}", big, Priority.METRIC)
        outbox.commit()
    kept = [one.topic for one in outbox.batch(100)]
    assert kept == ["alert", *(f"metric/{number}" for number in range(6, 20))]
    assert outbox.dropped == 6
    outbox.close()
    assert Outbox(path, SMALL).size == 15


def test_old_messages_go_but_not_those_from_before_the_clock_was_set(
    path: Path,
) -> None:
    times_ms = [0]
    outbox = Outbox(path, LIMITS, lambda: times_ms[-1])
    now_ms = int(time.time() * 1000)
    for at_ms in (1000, now_ms - 100 * 3_600_000, now_ms - 3_600_000):
        times_ms.append(at_ms)
        outbox.put("topic", b"%d" % at_ms, Priority.EVENT)
    times_ms.append(now_ms)
    outbox.commit()
    assert payloads(outbox) == [b"1000", b"%d" % (now_ms - 3_600_000)]
    assert outbox.dropped == 1


def test_a_message_of_absurd_size_is_dropped_and_counted(path: Path) -> None:
    outbox = Outbox(path, LIMITS)
    outbox.put("topic", bytes(MAX_PAYLOAD_BYTES + 1), Priority.ALERT)
    assert (outbox.size, outbox.dropped) == (0, 1)


def test_giving_up_is_counted(path: Path) -> None:
    outbox = Outbox(path, LIMITS)
    fill(outbox, 1, 2)
    outbox.drop(outbox.batch(1))
    assert (payloads(outbox), outbox.dropped) == ([b"2"], 1)


def test_a_batch_is_bounded_in_bytes_but_never_empty(path: Path) -> None:
    outbox = Outbox(path, LIMITS)
    for number in range(5):
        outbox.put("topic", big(number), Priority.EVENT)
    assert [one.payload[:4] for one in outbox.batch(9, 20_000)] == [b"0000", b"0001"]
    assert [one.payload[:4] for one in outbox.batch(9, 10)] == [b"0000"]


def test_drops_are_counted_by_priority_and_remembered(path: Path) -> None:
    outbox = Outbox(path, SMALL)
    outbox.put("reply", bytes(MAX_PAYLOAD_BYTES + 1), Priority.ALERT)
    for _ in range(20):
        outbox.put("metric", bytes(MAX_PAYLOAD_BYTES), Priority.METRIC)
    outbox.close()
    wanted = {Priority.ALERT: 1, Priority.METRIC: 5}
    again = Outbox(path, SMALL)
    assert again.drops == wanted
    assert again.dropped == 6


def test_setting_the_wall_clock_drops_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outbox = Outbox(path, LIMITS)
    fill(outbox, 1)
    outbox.commit()
    years_on = time.time() + 5 * 365 * 86400
    monkeypatch.setattr(time, "time_ns", lambda: int(years_on * 1e9))
    outbox._spool._age_checked_s = -1e9
    fill(outbox, 2)
    outbox.commit()
    assert payloads(outbox) == [b"1", b"2"]
    assert outbox.oldest_s < 3600


class FullDisk:
    """Makes an outbox's disk full (SQLite's own error) until it is `freed`."""

    def __init__(self, outbox: Outbox) -> None:
        self._database = outbox._spool._database
        pages = self._database.execute("pragma page_count").fetchone()[0]
        self._database.execute(f"pragma max_page_count = {pages}")

    def free(self) -> None:
        self._database.execute("pragma max_page_count = 100000")


def big(number: int) -> bytes:
    return b"%04d" % number + bytes(8000)


def test_a_full_disk_loses_nothing_that_memory_can_hold(path: Path) -> None:
    outbox = Outbox(path, LIMITS)
    fill(outbox, 1)
    outbox.commit()
    disk = FullDisk(outbox)
    for number in range(5):
        outbox.put("topic", big(number), Priority.EVENT)
    outbox.commit()
    batch = outbox.batch(10)
    assert [one.payload[:4] for one in batch] == [b"1", b"0000", b"0001", b"0002", b"0003", b"0004"]
    assert "full" in outbox.problem
    outbox.done([one.id for one in batch[:3]])
    assert [one.payload[:4] for one in outbox.batch(10)] == [b"0002", b"0003", b"0004"]
    disk.free()
    outbox.commit()
    assert outbox.problem == ""
    outbox.close()
    assert [one.payload[:4] for one in Outbox(path, LIMITS).batch(9)] == [b"0002", b"0003", b"0004"]


def test_memory_is_bounded_while_the_disk_is_full(path: Path) -> None:
    outbox = Outbox(path, LIMITS)
    disk = FullDisk(outbox)
    outbox.put("alert", big(0), Priority.ALERT)
    for number in range(MEMORY_MESSAGES + 100):
        outbox.put("metric", big(number), Priority.METRIC)
        if number % 500 == 0:
            outbox.commit()
    kept_bytes = sum(len(one.payload) for one in outbox.batch(MEMORY_MESSAGES, 2 * MEMORY_BYTES))
    assert 0.9 * MEMORY_BYTES < kept_bytes <= MEMORY_BYTES
    assert outbox.size + outbox.dropped == MEMORY_MESSAGES + 101
    assert outbox.batch(1)[0].topic == "alert"
    disk.free()


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "tiny"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)],
        check=False,
        capture_output=True,
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_really_full_file_system_stops_nobody(tiny_disk: Path) -> None:
    outbox = Outbox(tiny_disk / "outbox.db", LIMITS)
    for number in range(100):
        outbox.put("topic", big(number), Priority.EVENT)
        outbox.commit()
    assert outbox.problem
    received: list[bytes] = []
    while batch := outbox.batch(16):
        received += [one.payload[:4] for one in batch]
        outbox.done([one.id for one in batch])
    assert received == [b"%04d" % number for number in range(100)]


def test_a_file_that_is_no_database_is_set_aside(path: Path) -> None:
    path.write_bytes(b"not a database at all" * 1000)
    outbox = Outbox(path, LIMITS)
    fill(outbox, 1)
    assert payloads(outbox) == [b"1"]
    assert path.with_name("outbox.db.damaged").exists()


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        Outbox(tmp_path / "file" / "outbox.db", LIMITS)
