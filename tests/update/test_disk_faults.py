"""42: a disk that fills, turns read-only or runs out of inodes at any step, and a clock that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.errors import StorageError
from agent.host.disk import PartFile, RealDisk
from agent.schema.messages import Phase
from agent.update.states import RESTING
from tests.parts.on_record import assert_refused, audited
from tests.parts.signed_repository import SignedRepository, make_release
from tests.parts.update_device import UpdateDevice

FAR = 10**9
CODES = ["storage.full", "storage.read_only"]  # no inode left is reported as a full disk, too
STEPS = range(0, 45, 3)


class FailingPart:
    """A part file on a disk that may fail."""

    def __init__(self, part: PartFile, disk: FailingDisk) -> None:
        self._part, self._disk = part, disk
        self.size = part.size
        self.read_at, self.close = part.read_at, part.close

    def write_at(self, offset: int, data: bytes) -> None:
        self._disk.step()
        self._part.write_at(offset, data)

    def sync(self) -> None:
        self._disk.step()
        self._part.sync()

    def truncate(self, size: int) -> None:
        self._disk.step()
        self._part.truncate(size)


class FailingDisk(RealDisk):
    """A disk that takes no change any more after `left` changes."""

    def __init__(self) -> None:
        self.left, self.code, self.changes = FAR, "", 0

    def step(self) -> None:
        self.changes += 1
        self.left -= 1
        if self.left < 0:
            raise StorageError("the disk takes nothing", code=self.code)

    def write_atomic(self, path: Path, data: bytes, mode: int = 0o600) -> None:
        self.step()
        super().write_atomic(path, data, mode)

    def open_part(self, path: Path) -> PartFile:
        part: PartFile = FailingPart(super().open_part(path), self)
        return part

    def rename(self, source: Path, target: Path) -> None:
        self.step()
        super().rename(source, target)

    def remove(self, path: Path) -> None:
        self.step()
        super().remove(path)

    def make_dirs(self, folder: Path) -> None:
        if not folder.exists():
            self.step()
        super().make_dirs(folder)


def served(folder: Path, repository: SignedRepository) -> tuple[UpdateDevice, FailingDisk]:
    """A device that serves release 1 from a disk that is well so far."""
    disk = FailingDisk()
    device = UpdateDevice(folder, repository, disk)
    device.start()
    assert device.deploy(make_release(1)).code == "committed"
    return device, disk


@pytest.mark.parametrize("code", CODES)
def test_42_a_disk_that_fails_at_any_step_leaves_the_old_model_serving(
    tmp_path: Path, repository: SignedRepository, code: str
) -> None:
    ends = set()
    for step in STEPS:
        device, disk = served(tmp_path / str(step), repository)
        disk.left, disk.code = step, code
        end = device.deploy(make_release(2)).code
        ends.add(end)
        if end == "committed":
            continue
        assert end == code
        assert (device.host.serving, device.floor.counter) == ("1.1", 1)
        assert device.updater.record.phase in RESTING
        assert device.plaintext(device.current) == make_release(1).plaintext
        disk.left = FAR
        assert device.deploy(make_release(2)).code == "committed"
    assert ends == {code, "committed"}


@pytest.mark.parametrize("code", CODES)
def test_42_a_restart_on_a_disk_that_takes_nothing_still_serves(
    tmp_path: Path, repository: SignedRepository, code: str
) -> None:
    device, disk = served(tmp_path, repository)
    disk.left, disk.code = 0, code
    again = UpdateDevice(tmp_path, repository, disk)
    assert again.start() == "1.1"
    assert again.deploy(make_release(2)).code == code
    assert again.host.serving == "1.1"
    assert again.updater.record.phase is Phase.COMMITTED
    assert device.floor.counter == again.floor.counter == 1


def test_58_a_clock_at_2100_refuses_updates_and_the_model_serves_on(
    tmp_path: Path, repository: SignedRepository
) -> None:
    served(tmp_path, repository)
    far = UpdateDevice(tmp_path, repository, now_s=lambda: 4_102_444_800.0)
    assert far.start() == "1.1"
    with audited(far, tmp_path) as ledger:
        assert_refused(far, ledger, lambda: far.deploy(make_release(2)).code, "trust.expired")
    assert (far.host.serving, far.floor.counter) == ("1.1", 1)


def test_58_a_clock_at_1970_changes_nothing_of_what_is_known(
    tmp_path: Path, repository: SignedRepository
) -> None:
    device, _ = served(tmp_path, repository)
    device.floor.raise_to(time_s=4_102_444_800)
    past = UpdateDevice(tmp_path, repository, now_s=lambda: 0.0)
    assert past.start() == "1.1"
    with audited(past, tmp_path) as ledger:
        assert_refused(past, ledger, lambda: past.deploy(make_release(2)).code, "trust.expired")
    assert (past.host.serving, past.floor.counter) == ("1.1", 1)


def test_20_a_block_of_another_release_at_the_right_offset_is_refused(
    tmp_path: Path, repository: SignedRepository
) -> None:
    device, _ = served(tmp_path, repository)
    two, three = (
        next(path for path in repository.files if f"1.{number}/" in path and "fp32" in path)
        for number in (2, 3)
    )
    repository.files[two] = repository.files[three]
    reply = device.deploy(make_release(2))
    assert reply.code == "transfer.poisoned"
    assert (device.host.serving, device.floor.counter) == ("1.1", 1)
