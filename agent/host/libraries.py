"""Pages of shared libraries that a process needed only while it started: it lets go of them (madvise(2)).

What registers operators, builds tables or optimises a graph runs once, and its code would stay mapped for as long as the
process lives: a quarter of a worker's memory. A page that is wanted again comes back from the page cache.

Source: Linux, Documentation/filesystems/proc.rst (smaps).
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_MADV_DONTNEED = 4  # sys/mman.h


class Mapping(NamedTuple):
    """A part of the address space: where it begins, and how many bytes it has."""

    start: int
    size: int


def forget_start_up(smaps: Path = Path("/proc/self/smaps")) -> None:
    """Unmap the pages of libraries that nobody has written to.

    Call it once all is loaded, while no other thread loads a library: what is clean now and written to in the next moment would
    be lost. It does nothing elsewhere than on Linux.
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "madvise"):
        return
    try:
        mappings = list(clean_libraries(smaps.read_text().splitlines()))
    except OSError:
        return
    for start, size in mappings:
        # One that is locked in memory refuses, and stays.
        libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), _MADV_DONTNEED)


def clean_libraries(smaps: Iterable[str]) -> Iterator[Mapping]:
    """Yield what is mapped privately from a shared library, cannot be written to, and never was.

    A page that was written to, such as one with relocated addresses, is lost when it is unmapped: it is nowhere else.
    """
    mapping: Mapping | None = None
    for line in smaps:
        field, *rest = line.split(maxsplit=5)
        if not field.endswith(":"):
            mapping = _library(field, rest)
        elif mapping is not None and field == "Anonymous:" and rest[0] == "0":
            yield mapping


def _library(place: str, rest: list[str]) -> Mapping | None:
    rights, *_, name = rest
    if rights not in {"r-xp", "r--p"} or not name.startswith("/") or ".so" not in name:
        return None
    start, end = (int(address, 16) for address in place.split("-"))
    return Mapping(start, end - start)
