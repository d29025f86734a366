"""What a group of processes holds: private pages in full, shared ones by their users, whoever else runs."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.host.pages import held_mb
from agent.host.processes import rss_mb

MB = 2**20
# Maps a file, touches all of it, holds so much private memory, and waits.
HOLDER = """
import mmap, sys
path, private_mb = sys.argv[1], int(sys.argv[2])
with open(path, "rb") as file:
    view = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
touched = sum(view[place] for place in range(0, len(view), mmap.PAGESIZE))
own = bytearray(b"x" * (private_mb * 2**20))
print("holds", flush=True)
sys.stdin.read()
"""


@contextmanager
def holder(path: Path, private_mb: int = 0) -> Iterator[int]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path), str(private_mb)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"holds\n"
        yield process.pid
        process.communicate()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(16 * MB))
    return path


def test_what_two_of_them_map_counts_by_half_and_what_others_map_does_not(file: Path) -> None:
    with holder(file) as first, holder(file) as second, holder(file):
        (alone,), resident = held_mb([first]), rss_mb(first)
        together = held_mb([first, second])
    assert alone == pytest.approx(resident, rel=0.1)
    # 16 MiB of the file by half; Python's own pages, too.
    assert 8 <= alone - together[0] < 16
    assert together[0] == pytest.approx(together[1], abs=1.0)


def test_private_memory_counts_in_full(file: Path) -> None:
    with holder(file) as small, holder(file, 20) as large:
        held = held_mb([small, large])
    assert held[1] - held[0] == pytest.approx(20, abs=1.5)


def test_a_process_that_is_gone_holds_nothing(file: Path) -> None:
    with holder(file) as pid:
        pass
    assert held_mb([pid]) == [0.0]
