"""What a group of processes holds in memory, counted as if nothing else ran beside it.

The kernel's proportional set size shares the pages of Python and the C library with whatever other program maps
them: it falls when one more of them runs. Here only the processes of the group share.

Source: Linux, Documentation/admin-guide/mm/pagemap.rst.
"""

from __future__ import annotations

import os
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from agent.host.processes import pss_mb

_PRESENT, _SWAPPED, _OF_A_FILE = 1 << 63, 1 << 62, 1 << 61
_ENTRY_BYTES = 8
# Of the kernel's own: mapped into every process, nobody's memory.
_NOT_MEMORY = ("[vdso]", "[vvar]", "[vvar_vclock]", "[vsyscall]")

_FilePage = tuple[str, str, int]


def held_mb(pids: Sequence[int], root: Path = Path("/")) -> list[float]:
    """Return MiB of each process: its private pages, and its part of each file's page that several of them map.

    Where the kernel does not show the pages (another user's process), it is the proportional set size.
    """
    try:
        private, files = zip(*(_pages(root / "proc" / str(pid)) for pid in pids), strict=True)
    except OSError:
        return [pss_mb(pid, root) for pid in pids]
    users = Counter(page for pages in files for page in pages)
    page_mb = os.sysconf("SC_PAGE_SIZE") / 2**20
    return [
        page_mb * (own + sum(1 / users[page] for page in pages))
        for own, pages in zip(private, files, strict=True)
    ]


def _pages(folder: Path) -> tuple[int, set[_FilePage]]:
    """Return how many private pages a process holds, swapped ones included, and which pages of files it maps."""
    private, files = 0, set()
    for page in _held(folder):
        if page is None:
            private += 1
        else:
            files.add(page)
    return private, files


def _held(folder: Path) -> Iterator[_FilePage | None]:
    """Yield every page that a process holds: device, inode and place of a file's page, None for a private one."""
    size = os.sysconf("SC_PAGE_SIZE")
    with (folder / "maps").open() as maps, (folder / "pagemap").open("rb", buffering=0) as entries:
        for line in maps:
            place, rights, offset, device, inode, *name = line.split(maxsplit=5)
            # What nobody may read is only reserved.
            if rights.startswith("---") or "".join(name).strip() in _NOT_MEMORY:
                continue
            start, end = (int(address, 16) // size for address in place.split("-"))
            entries.seek(start * _ENTRY_BYTES)
            pages = array("Q", entries.read((end - start) * _ENTRY_BYTES))
            first = int(offset, 16) // size
            for number, page in enumerate(pages, first):
                if page & (_PRESENT | _SWAPPED):
                    yield (device, inode, number) if page & _OF_A_FILE else None
