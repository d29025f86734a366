"""A disk whose power can be cut before any step; what was not synced is then lost, torn or kept by chance.

The model is that of a journalling file system without mercy: a file's bytes are safe after fsync of the file,
its name after fsync of its folder, in the order of the changes of that folder. Everything lies on the real file
system too, so that code which maps files finds them.

    disk = PowerCutDisk(folder)
    disk.cut_after(7)
    with pytest.raises(PowerCutError):
        work(disk)
    disk = disk.after_cut(random.Random(1))     # what a restarted machine finds
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass, field
from os.path import commonprefix
from pathlib import Path
from typing import TYPE_CHECKING

from agent.errors import StorageError

if TYPE_CHECKING:
    import random


class PowerCutError(BaseException):
    """The machine is off. No error of the program: nothing may catch it."""


@dataclass
class Inode:
    """A file: its bytes now, and those that survive; a folder has none."""

    live: bytearray = field(default_factory=bytearray)
    safe: bytes | None = None
    is_folder: bool = False


# Every fsync in the code (`agent.host.disk`, `agent.update.fetch`), by what calls it.
SYNCS = (
    "write_atomic: the file",
    "write_atomic: its folder",
    "rename: the new folder",
    "remove: its folder",
    "make_dirs: the parent",
    "open_part: its folder",
    "part: now and then",
    "part: at the end",
)
Entry = tuple[Path, "Inode | None"]  # what a name shall refer to; None: removed
Change = tuple[Entry, ...]  # lost or kept as a whole, by the folder of its first entry


class PowerCutDisk:
    """A `Disk` (`agent.host.disk`) that counts its steps and can fail at one.

    Args:
        root: Folder on the real file system that mirrors the living state.
        missing: The sync, one of `SYNCS`, that was left out of the code; empty for none.
    """

    def __init__(self, root: Path, missing: str = "") -> None:
        self.root = root
        self.steps = 0
        self._cut_at: int | None = None
        self.missing = missing
        self.synced: set[str] = set()
        self._live: dict[Path, Inode] = {}
        self._safe: dict[Path, Inode] = {}
        self._pending: list[Change] = []
        root.mkdir(parents=True, exist_ok=True)

    # -- the script ---------------------------------------------------------------------------------

    def cut_after(self, steps: int | None) -> None:
        """Cut the power before the step after the next `steps`; None: never."""
        self._cut_at = None if steps is None else self.steps + steps

    def clone(self, root: Path, missing: str = "") -> PowerCutDisk:
        """Return a copy of this disk, all of it safe, in another folder."""
        copy = PowerCutDisk(root, missing)
        for path, inode in self._live.items():
            copy._settle(
                root / path.relative_to(self.root), bytes(inode.live), is_folder=inode.is_folder
            )
        return copy

    def after_cut(self, chance: random.Random) -> PowerCutDisk:
        """Return what a restarted machine finds, in the same folder."""
        names = dict(self._safe)
        for folder in sorted({_folder(change) for change in self._pending}):
            changes = [change for change in self._pending if _folder(change) == folder]
            for change in changes[: chance.randint(0, len(changes))]:
                _apply(names, change)
        disk = PowerCutDisk(self.root, self.missing)
        for path in self._live.keys() | names.keys():
            if not self._live.get(path, Inode()).is_folder:
                path.unlink(missing_ok=True)
        for path in sorted(self._live.keys() - names.keys(), reverse=True):
            if self._live[path].is_folder:
                shutil.rmtree(path, ignore_errors=True)
        for path in sorted(names):
            if path.parent == self.root or path.parent in names:
                inode = names[path]
                disk._settle(path, _survivor(inode, chance), is_folder=inode.is_folder)
        return disk

    def _settle(self, path: Path, data: bytes, *, is_folder: bool) -> None:
        self._live[path] = self._safe[path] = Inode(bytearray(data), data, is_folder)
        if is_folder:
            path.mkdir(exist_ok=True)
        else:
            path.write_bytes(data)

    # -- steps --------------------------------------------------------------------------------------

    def _step(self) -> None:
        if self._cut_at is not None and self.steps >= self._cut_at:
            raise PowerCutError
        self.steps += 1

    def _name(self, path: Path, inode: Inode | None) -> None:
        self._step()
        _rename(self._live, path, inode)
        self._pending.append(((path, inode),))

    def sync_file(self, inode: Inode, what: str) -> None:
        self._step()
        self.synced.add(what)
        if self.missing != what:
            inode.safe = bytes(inode.live)

    def sync_folder(self, folder: Path, what: str) -> None:
        self._step()
        self.synced.add(what)
        if self.missing != what:
            for change in self._pending:
                if _folder(change) == folder:
                    _apply(self._safe, change)
            self._pending = [change for change in self._pending if _folder(change) != folder]

    def put(self, path: Path, inode: Inode, offset: int, data: bytes) -> None:
        self._step()
        inode.live[offset : offset + len(data)] = data
        path.write_bytes(inode.live)

    def cut_short(self, path: Path, inode: Inode, size: int) -> None:
        self._step()
        del inode.live[size:]
        path.write_bytes(inode.live)

    # -- the port -----------------------------------------------------------------------------------

    def read(self, path: Path, limit: int) -> bytes:
        data = bytes(self._inode(path).live)
        if len(data) > limit:
            raise StorageError(f"{path}: too long", code="storage.too_long")
        return data

    def write_atomic(self, path: Path, data: bytes, mode: int = 0o600) -> None:  # noqa: ARG002
        temporary, inode = path.with_name(f".{path.name}.tmp"), Inode()
        self._name(temporary, inode)
        self.put(temporary, inode, 0, data)
        self.sync_file(inode, "write_atomic: the file")
        self._move(temporary, path)
        self.sync_folder(path.parent, "write_atomic: its folder")

    def open_part(self, path: Path) -> PowerCutPart:
        if path not in self._live:
            self._name(path, Inode())
            path.touch()
            self.sync_folder(path.parent, "open_part: its folder")
        return PowerCutPart(self, path, self._live[path])

    def rename(self, source: Path, target: Path) -> None:
        self._move(source, target)
        self.sync_folder(target.parent, "rename: the new folder")

    def _move(self, source: Path, target: Path) -> None:
        inode = self._inode(source)
        self._step()
        _rename(self._live, target, inode)
        _rename(self._live, source, None)
        self._pending.append(((target, inode), (source, None)))
        source.replace(target)

    def remove(self, path: Path) -> None:
        if path not in self._live:
            return
        is_folder = self._live[path].is_folder
        self._name(path, None)
        path.rmdir() if is_folder else path.unlink()
        self.sync_folder(path.parent, "remove: its folder")

    def exists(self, path: Path) -> bool:
        return path in self._live

    def list(self, folder: Path) -> tuple[Path, ...]:
        return tuple(sorted(path for path in self._live if path.parent == folder))

    def make_dirs(self, folder: Path) -> None:
        inside = [folder, *folder.parents][: len(folder.relative_to(self.root).parts)]
        for place in reversed(inside):
            if place not in self._live:
                self._name(place, Inode(is_folder=True))
                place.mkdir(exist_ok=True)
                self.sync_folder(place.parent, "make_dirs: the parent")

    def free_bytes(self, folder: Path) -> int:  # noqa: ARG002
        return 1 << 40

    def _inode(self, path: Path) -> Inode:
        if path not in self._live:
            raise StorageError(f"{path}: missing", code="storage.missing")
        return self._live[path]


class PowerCutPart:
    """A `PartFile` of that disk."""

    def __init__(self, disk: PowerCutDisk, path: Path, inode: Inode) -> None:
        self._disk, self._path, self._inode = disk, path, inode

    @property
    def size(self) -> int:
        return len(self._inode.live)

    def read_at(self, offset: int, length: int) -> bytes:
        return bytes(self._inode.live[offset : offset + length])

    def write_at(self, offset: int, data: bytes) -> None:
        self._disk.put(self._path, self._inode, offset, data)

    def sync(self) -> None:
        is_end = sys._getframe(1).f_code.co_name == "fetch_file"
        self._disk.sync_file(self._inode, f"part: {'at the end' if is_end else 'now and then'}")

    def truncate(self, size: int) -> None:
        self._disk.cut_short(self._path, self._inode, size)

    def close(self) -> None:
        """Nothing to do: closing makes nothing durable."""


def _rename(names: dict[Path, Inode], path: Path, inode: Inode | None) -> None:
    if inode is None:
        names.pop(path, None)
    else:
        names[path] = inode


def _apply(names: dict[Path, Inode], change: Change) -> None:
    for path, inode in change:
        _rename(names, path, inode)


def _folder(change: Change) -> Path:
    return change[0][0].parent


def _survivor(inode: Inode, chance: random.Random) -> bytes:
    """Return what is left of a file: the synced bytes, the newest, or something in between.

    Bytes that were synced and not written again since are safe, whatever was written behind them.
    """
    safe, live = inode.safe or b"", bytes(inode.live)
    if inode.safe == live:
        return live
    kept = len(commonprefix([safe, live]))  # noqa: RUF071 - bytes, not paths
    torn = live[: chance.randint(kept, len(live))]
    blanked = torn + bytes(len(live) - len(torn))  # the length is there, the data is not
    return chance.choice([safe, torn, blanked, live])
