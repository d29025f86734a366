"""Durable files: every write that a promise hangs on goes through a `Disk`.

Rules
- A file is either its old or its new content, also after a power cut: temporary file in the same folder,
  fsync, rename, fsync of the folder.
- Every `OSError` becomes a `StorageError` that names the path and says what to do.
- A part file is never opened through a symbolic link.
- What is no file (a device, a pipe) is never replaced by one: `/dev/null` would be an ordinary file for everybody.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from agent.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator

_FAULTS = {
    errno.ENOSPC: ("storage.full", "free some space on this file system"),
    errno.EDQUOT: ("storage.full", "raise the quota of this user or free some space"),
    errno.EROFS: (
        "storage.read_only",
        "remount the file system writable; check it for errors first",
    ),
    errno.EACCES: ("storage.denied", "give this user access to this path"),
    errno.EPERM: ("storage.denied", "give this user access to this path"),
    errno.ELOOP: (
        "storage.denied",
        "remove the symbolic link; it is not followed on purpose",
    ),
    errno.ENOENT: ("storage.missing", "check the path"),
    errno.EISDIR: ("storage.failed", "name a file, not a folder"),
    errno.ENOTDIR: ("storage.failed", "a part of the path is a file: name a folder there"),
    errno.EEXIST: ("storage.failed", "a part of the path is a file: name a folder there"),
    errno.ENAMETOOLONG: ("storage.failed", "give it a shorter name"),
}
_DEVICES = Path("/dev")


class PartFile(Protocol):
    """A file that grows while it is transferred; nothing of it is durable before `sync`."""

    @property
    def size(self) -> int:
        """Return the present length, bytes."""

    def read_at(self, offset: int, length: int) -> bytes:
        """Return up to `length` bytes from `offset`; fewer only at the end of the file."""

    def write_at(self, offset: int, data: bytes) -> None:
        """Write all of `data` at `offset`."""

    def sync(self) -> None:
        """Return only when everything written so far survives a power cut."""

    def truncate(self, size: int) -> None:
        """Cut the file to `size` bytes."""

    def close(self) -> None:
        """Close without syncing."""


class Disk(Protocol):
    """What Vigil needs of a file system; `RealDisk` is the real one, tests cut its power.

    Every method raises `StorageError` with code `storage.full`, `storage.read_only`, `storage.denied`,
    `storage.missing`, `storage.too_long` or `storage.failed`.
    """

    def read(self, path: Path, limit: int) -> bytes:
        """Return the whole file; more than `limit` bytes is `storage.too_long`."""

    def write_atomic(self, path: Path, data: bytes, mode: int = 0o600) -> None:
        """Replace `path` by `data`, durably and all or nothing."""

    def open_part(self, path: Path) -> PartFile:
        """Open `path` for reading and writing, creating it with mode 0600."""

    def rename(self, source: Path, target: Path) -> None:
        """Move a file over `target` and make the move durable."""

    def remove(self, path: Path) -> None:
        """Remove a file or an empty folder, durably; a missing one is no error."""

    def exists(self, path: Path) -> bool:
        """Say whether something is at `path`."""

    def list(self, folder: Path) -> tuple[Path, ...]:
        """Return what lies in `folder`, sorted; nothing for a missing folder."""

    def make_dirs(self, folder: Path) -> None:
        """Create `folder` (mode 0700) and its parents, durably; existing ones are kept."""

    def free_bytes(self, folder: Path) -> int:
        """Return the bytes an ordinary user can still write to this file system."""


class RealPart:
    """A `PartFile` on the real file system."""

    def __init__(self, path: Path) -> None:
        self._path = path
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with storage_errors(path):
            is_new = not path.exists()
            self._fd = os.open(path, flags, 0o600)
            if is_new:
                # Without its name, what is synced of it later would be lost with the power.
                _sync_folder(path.parent)

    @property
    def size(self) -> int:
        """Return the present length, bytes."""
        with storage_errors(self._path):
            return os.fstat(self._fd).st_size

    def read_at(self, offset: int, length: int) -> bytes:
        """Return up to `length` bytes from `offset`; fewer only at the end of the file."""
        with storage_errors(self._path):
            return os.pread(self._fd, length, offset)

    def write_at(self, offset: int, data: bytes) -> None:
        """Write all of `data` at `offset`."""
        view = memoryview(data)
        with storage_errors(self._path):
            while view:
                written = os.pwrite(self._fd, view, offset)
                view, offset = view[written:], offset + written

    def sync(self) -> None:
        """Return only when everything written so far survives a power cut."""
        with storage_errors(self._path):
            os.fsync(self._fd)

    def truncate(self, size: int) -> None:
        """Cut the file to `size` bytes."""
        with storage_errors(self._path):
            os.ftruncate(self._fd, size)

    def close(self) -> None:
        """Close without syncing."""
        os.close(self._fd)


class RealDisk:
    """The `Disk` of this machine."""

    def read(self, path: Path, limit: int) -> bytes:
        """Return the whole file; more than `limit` bytes is `storage.too_long`."""
        with storage_errors(path), path.open("rb") as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            message = f"{path}: expected at most {limit} bytes, found more"
            raise StorageError(message, code="storage.too_long")
        return data

    def write_atomic(self, path: Path, data: bytes, mode: int = 0o600) -> None:
        """Replace `path` by `data`, durably and all or nothing."""
        temporary = path.with_name(f".{path.name}.tmp")
        try:
            with storage_errors(path):
                _refuse_all_but_files(path)
                # Left over only by a power cut; removing it first keeps O_EXCL meaningful.
                temporary.unlink(missing_ok=True)
                _write_new(temporary, data, mode)
                temporary.replace(path)
                _sync_folder(path.parent)
        except StorageError:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise

    def open_part(self, path: Path) -> PartFile:
        """Open `path` for reading and writing, creating it with mode 0600."""
        return RealPart(path)

    def rename(self, source: Path, target: Path) -> None:
        """Move a file over `target` and make the move durable."""
        with storage_errors(source):
            source.replace(target)
            # The old name may come back after a power cut: a second name for the same bytes harms nobody.
            _sync_folder(target.parent)

    def remove(self, path: Path) -> None:
        """Remove a file or an empty folder, durably; a missing one is no error."""
        with storage_errors(path):
            try:
                is_folder = stat.S_ISDIR(path.lstat().st_mode)
            except FileNotFoundError:
                return
            path.rmdir() if is_folder else path.unlink()
            _sync_folder(path.parent)

    def exists(self, path: Path) -> bool:
        """Say whether something is at `path`."""
        with storage_errors(path):
            return path.exists()

    def list(self, folder: Path) -> tuple[Path, ...]:
        """Return what lies in `folder`, sorted; nothing for a missing folder."""
        with storage_errors(folder):
            return tuple(sorted(folder.iterdir())) if folder.is_dir() else ()

    def make_dirs(self, folder: Path) -> None:
        """Create `folder` (mode 0700) and its parents, durably; existing ones are kept."""
        with storage_errors(folder):
            missing = [place for place in (folder, *folder.parents) if not place.exists()]
            for place in reversed(missing):
                place.mkdir(mode=0o700, exist_ok=True)
                _sync_folder(place.parent)

    def free_bytes(self, folder: Path) -> int:
        """Return the bytes an ordinary user can still write to this file system."""
        with storage_errors(folder):
            figures = os.statvfs(folder)
        return figures.f_bavail * figures.f_frsize


REAL_DISK = RealDisk()


def make_room(disk: Disk, folder: Path, budget_bytes: int) -> int:
    """Remove what comes first by name until the rest takes at most `budget_bytes`; return what the rest takes.

    Raises:
        StorageError: A file cannot be removed.
    """
    sizes = {path: path.stat().st_size for path in disk.list(folder)}
    used = sum(sizes.values())
    for path in sorted(sizes):
        if used <= budget_bytes:
            break
        disk.remove(path)
        used -= sizes[path]
    return used


def require_writable(path: Path) -> None:
    """Make sure that a file can be made at `path`, or in it where that is a folder, before long work; it leaves nothing.

    Raises:
        StorageError: It cannot, and why.
    """
    with storage_errors(path):
        place = path.absolute()
        if not place.is_dir():
            _refuse_all_but_files(place)
            place = next(one for one in place.parents if one.exists())
        # An attempt is the only honest test: permissions, mounts and lists of access know no common question.
        with tempfile.TemporaryFile(dir=place):
            pass


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn an OSError about `path` into a StorageError that says what to do."""
    try:
        yield
    except OSError as error:
        code, hint = _FAULTS.get(error.errno or 0, ("storage.failed", "check the disk"))
        reason = error.strerror or type(error).__name__
        raise StorageError(f"{path}: {reason}", code=code, hint=hint) from error


def _refuse_all_but_files(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        # What lies in /dev itself is no file either: /dev/stdout is a link to one.
        if not stat.S_ISREG(mode) or path.parent.resolve() == _DEVICES:
            message = f"{path}: a device or a pipe, which no file may replace"
            raise StorageError(message, code="storage.failed", hint="name a file")


def _write_new(path: Path, data: bytes, mode: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, mode), "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
