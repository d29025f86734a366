"""The ledger: at most once, and a record that shows where it was touched."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from agent.errors import StorageError, TrustError
from agent.schema.messages import CommandBody, ReplyStatus
from agent.trust.audit import GENESIS, AuditRow, chained
from agent.trust.ledger import Ledger, Unfinished
from agent.trust.policy import Authorised
from tests.parts.commands import POLICY, body, command

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW_MS = 1_800_000_000_000


def authorised(command_id: str = "command-one", ctr: int = 5, iss: str = "dora") -> Authorised:
    return Authorised(CommandBody(**body(id=command_id, ctr=ctr, iss=iss)), (iss,))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path / "ledger.db")
    yield made
    made.close()


def test_a_new_ledger_knows_nothing(ledger: Ledger, tmp_path: Path) -> None:
    assert (ledger.last_counter("dora"), ledger.seen("command-one")) == (0, False)
    assert (ledger.head, ledger.rows(), ledger.unfinished()) == (GENESIS, [], [])
    ledger.verify()
    assert stat.S_IMODE((tmp_path / "ledger.db").stat().st_mode) == 0o600


def test_an_admitted_command_is_remembered_before_it_runs(ledger: Ledger) -> None:
    ledger.admit(authorised(), NOW_MS)
    assert (ledger.last_counter("dora"), ledger.seen("command-one")) == (5, True)
    assert ledger.unfinished() == [Unfinished("command-one", "dora", "deploy")]
    assert [row.kind for row in ledger.rows()] == ["admitted"]


@pytest.mark.parametrize(
    "again",
    [authorised(), authorised(ctr=4, command_id="command-two"), authorised(ctr=9)],
    ids=["exact replay", "older counter", "same id"],
)
def test_nothing_is_admitted_twice(ledger: Ledger, again: Authorised) -> None:
    ledger.admit(authorised(), NOW_MS)
    head = ledger.head
    with pytest.raises(TrustError):
        ledger.admit(again, NOW_MS)
    assert (ledger.head, ledger.last_counter("dora")) == (head, 5)
    ledger.verify()


@pytest.mark.parametrize("copy", ["kept", "lost", "damaged"])
def test_57_a_ledger_put_back_from_a_backup_admits_nothing_again(tmp_path: Path, copy: str) -> None:
    path, counters = tmp_path / "ledger.db", tmp_path / "ledger.counters"
    first = Ledger(path)
    first.admit(authorised(), NOW_MS)
    first.close()
    backup = path.read_bytes()
    later = authorised("command-two", ctr=9)
    second = Ledger(path)
    second.admit(later, NOW_MS)
    second.close()
    path.write_bytes(backup)
    if copy == "lost":
        counters.unlink()
    elif copy == "damaged":
        counters.write_bytes(counters.read_bytes().replace(b"9", b"1"))
    restored = Ledger(path)
    if copy == "kept":
        with pytest.raises(TrustError, match="admitted before"):
            restored.admit(later, NOW_MS)
        assert restored.last_counter("dora") == 9
        assert "counters dora 5 -> 9" in restored.rows()[-1].text
        restored.admit(authorised("command-three", ctr=10), NOW_MS)
    else:  # the copy is a second line, not a lock
        restored.admit(authorised("command-three", ctr=6), NOW_MS)
    restored.verify()
    restored.close()
    again = Ledger(path)
    assert [row.kind for row in again.rows()].count("ledger") == (copy == "kept")
    again.close()


def test_a_crash_between_ledger_and_copy_is_no_restored_ledger(tmp_path: Path) -> None:
    path, counters = tmp_path / "ledger.db", tmp_path / "ledger.counters"
    ledger = Ledger(path)
    ledger.admit(authorised(), NOW_MS)
    before = counters.read_bytes()
    ledger.admit(authorised("command-two", ctr=9), NOW_MS)
    ledger.close()
    counters.write_bytes(before)
    again = Ledger(path)
    assert again.last_counter("dora") == 9
    assert {row.kind for row in again.rows()} == {"admitted"}
    again.close()
    assert b'"dora":9' in counters.read_bytes()


def test_a_disk_that_takes_no_copy_stops_no_command(tmp_path: Path) -> None:
    (tmp_path / "ledger.counters").mkdir()
    ledger = Ledger(tmp_path / "ledger.db")
    ledger.admit(authorised(), NOW_MS)
    assert ledger.seen("command-one")
    ledger.close()


def test_of_two_threads_with_one_command_one_is_refused(ledger: Ledger) -> None:
    outcomes: list[bool] = []

    def attempt() -> None:
        try:
            ledger.admit(authorised(), NOW_MS)
            outcomes.append(True)
        except TrustError:
            outcomes.append(False)

    threads = [threading.Thread(target=attempt) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [False] * 7 + [True]


def test_a_finished_command_is_no_longer_open(ledger: Ledger) -> None:
    ledger.admit(authorised(), NOW_MS)
    ledger.finish("command-one", ReplyStatus.RUNNING, "", NOW_MS)
    assert len(ledger.unfinished()) == 1
    ledger.finish("command-one", ReplyStatus.FAILED, "command.failed", NOW_MS)
    assert ledger.unfinished() == []
    assert ledger.seen("command-one")


def test_what_was_admitted_survives_a_kill_and_is_reported_open(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    script = (
        "import os, signal; from pathlib import Path; from agent.trust.ledger import Ledger;"
        "from tests.trust.test_ledger import authorised, NOW_MS;"
        f"Ledger(Path({str(path)!r})).admit(authorised(), NOW_MS);"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -signal.SIGKILL
    ledger = Ledger(path)
    assert ledger.unfinished() == [Unfinished("command-one", "dora", "deploy")]
    with pytest.raises(TrustError):
        ledger.admit(authorised(), NOW_MS)
    ledger.close()


def test_every_commit_is_synchronous(ledger: Ledger) -> None:
    assert ledger._db.execute("pragma synchronous").fetchone() == (2,)
    assert ledger._db.execute("pragma journal_mode").fetchone() == ("wal",)


def test_refusals_and_other_events_are_recorded_in_order(ledger: Ledger) -> None:
    ledger.refuse("trust.role", "vera is less", NOW_MS)
    ledger.record("update", "yolo 2 committed")
    rows = ledger.rows()
    assert [(row.number, row.kind) for row in rows] == [(1, "refused"), (2, "update")]
    assert rows[0].text == "trust.role: vera is less"
    assert rows[-1].hash == ledger.head
    assert [row.number for row in ledger.rows(newest=1)] == [2]
    ledger.verify()


def test_what_is_told_twice_is_recorded_once(ledger: Ledger) -> None:
    for at_ms in (NOW_MS, NOW_MS, NOW_MS + 1):
        ledger.record_once("update", "gate/parts/2.0.0 failed: \ud800", at_ms)
    assert [row.at_ms for row in ledger.rows()] == [NOW_MS, NOW_MS + 1]
    ledger.verify()


def test_hostile_text_is_recorded_without_harm(ledger: Ledger) -> None:
    ledger.refuse("trust.malformed", "\ud800 \0 '; drop table audit; --", NOW_MS)
    ledger.verify()
    assert len(ledger.rows()) == 1


def test_the_same_events_give_another_head_in_another_order(tmp_path: Path) -> None:
    heads = []
    for order in ("ab", "ba"):
        ledger = Ledger(tmp_path / f"{order}.db")
        for kind in order:
            ledger.record(kind, "x", NOW_MS)
        heads.append(ledger.head)
        ledger.close()
    assert heads[0] != heads[1]


@pytest.mark.parametrize(
    ("tampering", "row"),
    [
        ("update audit set text = 'nothing happened' where number = 3", 3),
        ("update audit set at_ms = 0 where number = 2", 2),
        ("update audit set kind = 'x' where number = 5", 5),
        ("delete from audit where number = 4", 4),
        ("delete from audit where number > 3", 4),
        ("delete from audit", 1),
        ("delete from audit where number = 1", 1),
        ("update audit set hash = 'x' where number = 2", 2),
        ("insert into audit values (6, 0, 'x', 'x', 'x')", 6),
        ("delete from head", 6),
        ("update audit set number = number + 10 where number = 2", 2),
    ],
)
def test_the_first_row_that_was_touched_is_named(tmp_path: Path, tampering: str, row: int) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    for number in range(5):
        ledger.record("event", f"number {number}")
    ledger.close()
    with sqlite3.connect(tmp_path / "ledger.db") as db:
        db.execute(tampering)
    db.close()
    ledger = Ledger(tmp_path / "ledger.db")
    with pytest.raises(TrustError, match=f"row {row} ") as caught:
        ledger.verify()
    assert caught.value.code == "trust.audit"
    ledger.close()


def test_a_row_that_was_edited_and_hashed_again_breaks_the_next(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    for number in range(5):
        ledger.record("event", f"number {number}", NOW_MS)
    first, second = ledger.rows()[:2]
    forged = AuditRow(2, second.at_ms, second.kind, "nothing happened", "")
    values = (forged.text, chained(first.hash, forged))
    ledger._db.execute("update audit set text = ?, hash = ? where number = 2", values)
    with pytest.raises(TrustError, match="row 3 "):
        ledger.verify()
    ledger.close()


def test_a_file_that_is_no_database_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"not a database" * 100)
    with pytest.raises(StorageError, match=r"ledger\.db"):
        Ledger(tmp_path / "ledger.db")


def test_a_full_disk_admits_nothing_and_says_so(ledger: Ledger) -> None:
    ledger.record("event", "before")
    ledger._db.execute("pragma max_page_count = 1")
    with pytest.raises(StorageError) as caught:
        ledger.record("event", "x" * 100_000)
    assert caught.value.code == "storage.full"
    ledger.verify()


def test_a_ledger_behind_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError):
        Ledger(tmp_path / "ledger.db")
    assert not os.path.lexists(tmp_path / "elsewhere")


def test_the_policy_asks_the_ledger(ledger: Ledger) -> None:
    from agent.trust.policy import authorise
    from tests.parts.commands import Memory

    situation = Memory().situation(last_counter=ledger.last_counter, seen=ledger.seen)
    ledger.admit(authorise(command(), POLICY, situation), NOW_MS)
    with pytest.raises(TrustError) as caught:
        authorise(command(), POLICY, situation)
    assert caught.value.code == "trust.counter"
