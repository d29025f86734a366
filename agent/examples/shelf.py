"""Sealed examples in a folder, by age: put there, handed out in batches, forgotten once they have arrived."""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from agent.host.disk import Disk, make_room

SUFFIX = ".example"
_MAX_BYTES = 16 << 20


class Batch(NamedTuple):
    """Some examples: a tar of the sealed files, how many, the name of the last one, and how many are younger."""

    data: bytes
    pictures: int
    last: str
    left: int


@dataclass(frozen=True)
class Shelf:
    """The folder; names sort by age.

    Attributes:
        budget_bytes: What may lie there; the oldest make room.
    """

    folder: Path
    disk: Disk
    budget_bytes: int

    def put(self, name: str, sealed: bytes) -> None:
        """Keep one example.

        Raises:
            StorageError: It cannot be written.
        """
        self.disk.make_dirs(self.folder)
        self.disk.write_atomic(self.folder / f"{name}{SUFFIX}", sealed)
        make_room(self.disk, self.folder, self.budget_bytes)

    def batch(self, limit_bytes: int) -> Batch:
        """Return the oldest examples, as many as fit `limit_bytes` but at least one where there is one.

        Raises:
            StorageError: They cannot be read.
        """
        names = self._names()
        packed, count, used = io.BytesIO(), 0, 0
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for name in names:
                sealed = self.disk.read(self.folder / name, _MAX_BYTES)
                if count and used + len(sealed) > limit_bytes:
                    break
                entry = tarfile.TarInfo(name)
                entry.size = len(sealed)
                tar.addfile(entry, io.BytesIO(sealed))
                count, used = count + 1, used + len(sealed)
        last = names[count - 1] if count else ""
        return Batch(packed.getvalue(), count, last, len(names) - count)

    def forget(self, through: str) -> int:
        """Remove every example up to the one of that name, and return how many; none for an empty name."""
        gone = [name for name in self._names() if name <= through]
        for name in gone:
            self.disk.remove(self.folder / name)
        return len(gone)

    def _names(self) -> list[str]:
        return [path.name for path in self.disk.list(self.folder) if path.suffix == SUFFIX]
