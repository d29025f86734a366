"""The rollback floor rises and never falls."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.errors import StorageError
from agent.host.disk import REAL_DISK
from agent.trust.floor import Floor

if TYPE_CHECKING:
    from pathlib import Path


def values(floor: Floor) -> tuple[int, int, int]:
    return floor.counter, floor.timestamp_version, floor.time_s


def test_a_new_device_has_a_floor_of_zero(tmp_path: Path) -> None:
    assert values(Floor(tmp_path / "floor")) == (0, 0, 0)


def test_each_number_rises_by_itself_and_is_remembered(tmp_path: Path) -> None:
    floor = Floor(tmp_path / "floor")
    floor.raise_to(counter=3)
    floor.raise_to(timestamp_version=40, time_s=1_800_000_000)
    assert values(floor) == values(Floor(tmp_path / "floor")) == (3, 40, 1_800_000_000)


def test_it_never_moves_down(tmp_path: Path) -> None:
    floor = Floor(tmp_path / "floor")
    floor.raise_to(counter=9, timestamp_version=9, time_s=9)
    floor.raise_to(counter=3, timestamp_version=10, time_s=1)
    assert values(Floor(tmp_path / "floor")) == (9, 10, 9)


def test_nothing_is_written_when_nothing_rises(tmp_path: Path) -> None:
    floor = Floor(tmp_path / "floor")
    floor.raise_to(counter=9)
    written = (tmp_path / "floor").stat().st_mtime_ns
    floor.raise_to(counter=9)
    assert (tmp_path / "floor").stat().st_mtime_ns == written


@pytest.mark.parametrize("cut", [0, 1, 10, -1, -2, -30])
def test_a_torn_file_is_an_error_not_zero(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "floor"
    Floor(path).raise_to(counter=9)
    # The line break at the end is the only byte that means nothing.
    whole = path.read_bytes().rstrip()
    path.write_bytes(whole[:cut])
    with pytest.raises(StorageError) as caught:
        Floor(path)
    assert caught.value.code == "storage.damaged"


def test_no_byte_can_be_changed(tmp_path: Path) -> None:
    path = tmp_path / "floor"
    Floor(path).raise_to(counter=9)
    whole = path.read_bytes().rstrip()
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 0x02
        path.write_bytes(bytes(changed))
        with pytest.raises(StorageError):
            Floor(path)


def test_a_disk_that_refuses_leaves_the_floor_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "gone" / "floor"
    floor = Floor(path)
    with pytest.raises(StorageError):
        floor.raise_to(counter=9)
    assert floor.counter == 0
    REAL_DISK.make_dirs(path.parent)
    floor.raise_to(counter=9)
    assert Floor(path).counter == 9
