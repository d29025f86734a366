"""Durable files on the real file system."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from agent.errors import StorageError
from agent.host.disk import REAL_DISK


def test_what_is_written_is_read_back_with_the_mode_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "key"
    REAL_DISK.write_atomic(path, b"secret", 0o600)
    assert REAL_DISK.read(path, 6) == b"secret"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_mode_asked_for_wins_over_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        REAL_DISK.write_atomic(tmp_path / "open", b"x", 0o644)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "open").stat().st_mode) == 0o644


def test_replacing_a_file_leaves_nothing_else_behind(tmp_path: Path) -> None:
    REAL_DISK.write_atomic(tmp_path / "state", b"old")
    REAL_DISK.write_atomic(tmp_path / "state", b"new")
    assert REAL_DISK.list(tmp_path) == (tmp_path / "state",)
    assert REAL_DISK.read(tmp_path / "state", 10) == b"new"


def test_a_leftover_of_a_power_cut_does_not_stop_the_next_write(tmp_path: Path) -> None:
    (tmp_path / ".state.tmp").write_bytes(b"torn")
    REAL_DISK.write_atomic(tmp_path / "state", b"whole")
    assert REAL_DISK.list(tmp_path) == (tmp_path / "state",)


def test_a_write_that_fails_keeps_the_old_file_and_cleans_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    REAL_DISK.write_atomic(tmp_path / "state", b"old")

    def full(_fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError) as caught:
        REAL_DISK.write_atomic(tmp_path / "state", b"new")
    assert caught.value.code == "storage.full"
    assert str(tmp_path / "state") in str(caught.value)
    assert REAL_DISK.list(tmp_path) == (tmp_path / "state",)
    assert REAL_DISK.read(tmp_path / "state", 10) == b"old"


def test_data_and_rename_are_synced_in_this_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    real_fsync, real_replace = os.fsync, Path.replace

    def fsync(fd: int) -> None:
        steps.append("folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file")
        real_fsync(fd)

    def replace(source: Path, target: Path) -> Path:
        steps.append("rename")
        return real_replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    REAL_DISK.write_atomic(tmp_path / "state", b"x")
    assert steps == ["file", "rename", "folder"]


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, "storage.full"),
        (errno.EDQUOT, "storage.full"),
        (errno.EROFS, "storage.read_only"),
        (errno.EACCES, "storage.denied"),
        (errno.EPERM, "storage.denied"),
        (errno.EIO, "storage.failed"),
    ],
)
def test_every_fault_of_the_system_has_its_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: str
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "replace", broken)
    with pytest.raises(StorageError) as caught:
        REAL_DISK.write_atomic(tmp_path / "state", b"x")
    assert caught.value.code == code
    assert caught.value.hint


@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_what_is_no_file_is_not_replaced_by_one(tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case _:
            path = Path("/dev/stdout")  # a link: to a file, where this test's output is one
    before = path.lstat()
    with pytest.raises(StorageError) as caught:
        REAL_DISK.write_atomic(path, b"x")
    assert "name a file" in caught.value.hint
    assert path.lstat().st_ino == before.st_ino


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="nothing") as caught:
        REAL_DISK.read(tmp_path / "nothing", 10)
    assert caught.value.code == "storage.missing"


def test_a_file_over_the_limit_is_not_read_whole(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"12345")
    with pytest.raises(StorageError) as caught:
        REAL_DISK.read(tmp_path / "big", 4)
    assert caught.value.code == "storage.too_long"


def test_a_part_file_is_written_read_cut_and_kept(tmp_path: Path) -> None:
    part = REAL_DISK.open_part(tmp_path / "a.part")
    part.write_at(4, b"efgh")
    part.write_at(0, b"abcd")
    part.sync()
    assert (part.size, part.read_at(2, 4), part.read_at(6, 99)) == (8, b"cdef", b"gh")
    part.truncate(3)
    part.close()
    again = REAL_DISK.open_part(tmp_path / "a.part")
    assert (again.size, again.read_at(0, 99)) == (3, b"abc")
    again.close()
    assert stat.S_IMODE((tmp_path / "a.part").stat().st_mode) == 0o600


def test_a_part_file_is_not_opened_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"")
    (tmp_path / "a.part").symlink_to(tmp_path / "victim")
    with pytest.raises(StorageError) as caught:
        REAL_DISK.open_part(tmp_path / "a.part")
    assert caught.value.code == "storage.denied"


def test_rename_replaces_and_remove_is_idempotent(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "b").write_bytes(b"b")
    REAL_DISK.rename(tmp_path / "a", tmp_path / "b")
    assert REAL_DISK.read(tmp_path / "b", 1) == b"a"
    REAL_DISK.remove(tmp_path / "b")
    REAL_DISK.remove(tmp_path / "b")
    assert not REAL_DISK.exists(tmp_path / "b")


def test_folders_are_made_private_and_removed_only_when_empty(tmp_path: Path) -> None:
    folder = tmp_path / "x" / "y"
    REAL_DISK.make_dirs(folder)
    REAL_DISK.make_dirs(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    with pytest.raises(StorageError):
        REAL_DISK.remove(tmp_path / "x")
    REAL_DISK.remove(folder)
    assert REAL_DISK.list(folder) == ()


def test_removing_a_link_keeps_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    REAL_DISK.remove(tmp_path / "link")
    assert REAL_DISK.list(tmp_path) == (tmp_path / "folder",)


def test_free_space_is_what_the_file_system_says(tmp_path: Path) -> None:
    assert REAL_DISK.free_bytes(tmp_path) > 0
