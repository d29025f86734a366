"""The journal: what was written is read, rot costs one step at most, and never everything in silence."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.errors import StorageError
from agent.schema.manifest import ReleaseRef
from agent.schema.messages import Phase
from agent.update.journal import Journal
from agent.update.record import UpdateRecord
from tests.parts.signed_repository import SignedRepository, make_release
from tests.parts.update_device import UpdateDevice


def record(number: int) -> UpdateRecord:
    ref = ReleaseRef(path="models/pi5/a/1/manifest.json", sha256=f"{number:064x}", counter=number)
    return UpdateRecord(
        phase=Phase.TRIAL, current=ref, candidate=ref, tries=number, bad={"b" * 64: "ü"}
    )


def test_a_new_device_has_an_empty_record(tmp_path: Path) -> None:
    assert Journal(tmp_path).read() == UpdateRecord()


def test_the_last_record_written_is_read(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.read()
    for number in range(1, 6):
        journal.write(record(number))
        assert Journal(tmp_path).read() == record(number)


@pytest.mark.parametrize("damage", [b"", b"x", b"{}\n"])
def test_a_damaged_newest_slot_costs_one_step(tmp_path: Path, damage: bytes) -> None:
    journal = Journal(tmp_path)
    journal.read()
    for number in (1, 2, 3):
        journal.write(record(number))
    (tmp_path / "update.b.json").write_bytes(damage)
    again = Journal(tmp_path)
    assert again.read() == record(2)
    again.write(record(9))
    assert Journal(tmp_path).read() == record(9)


def test_a_single_changed_byte_is_noticed(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.read()
    journal.write(record(1))
    path = tmp_path / "update.b.json"
    for at in range(0, len(path.read_bytes()), 7):
        data = bytearray(path.read_bytes())
        data[at] ^= 1
        (tmp_path / "copy").mkdir(exist_ok=True)
        (tmp_path / "copy" / path.name).write_bytes(data)
        with pytest.raises(StorageError) as caught:
            Journal(tmp_path / "copy").read()
        assert caught.value.code == "storage.journal_damaged"


def test_a_lost_journal_still_finds_the_committed_release(tmp_path: Path) -> None:
    repository = SignedRepository()
    repository.add(make_release(1))
    repository.publish()
    device = UpdateDevice(tmp_path, repository)
    device.start()
    device.deploy(make_release(1))
    for path in (tmp_path / "journal").glob("update.*"):
        path.write_bytes(b"rotten")
    again = UpdateDevice(tmp_path, repository)
    assert again.start() == "1.1"
    assert again.last.code == "storage.journal_damaged"


def test_a_damaged_current_release_gives_way_to_the_previous_one(tmp_path: Path) -> None:
    repository = SignedRepository()
    for counter in (1, 2):
        repository.add(make_release(counter))
    repository.publish()
    device = UpdateDevice(tmp_path, repository)
    device.start()
    for counter in (1, 2):
        assert device.deploy(make_release(counter)).code == "committed"
    payload = device.store.load(device.current).payload_path
    payload.write_bytes(payload.read_bytes()[:-1] + b"x")
    again = UpdateDevice(tmp_path, repository)
    assert again.start() == "1.1"
    assert again.deploy(make_release(2)).code == "committed"
    assert again.plaintext(again.current) == make_release(2).plaintext
