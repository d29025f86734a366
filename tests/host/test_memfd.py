"""Anonymous memory that nobody can change once it is sealed."""

from __future__ import annotations

import mmap
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.errors import StorageError
from agent.host.memfd import create_memfd, memfd_of, read_memfd, seal_memfd, write_memfd


def test_a_sealed_memfd_reads_back_its_bytes() -> None:
    fd = memfd_of(b"weights", "model")
    with read_memfd(fd) as view:
        assert bytes(view) == b"weights"
    os.close(fd)


def test_a_sealed_memfd_can_be_neither_written_nor_resized_nor_unsealed() -> None:
    fd = memfd_of(b"weights", "model")
    for attempt in (
        lambda: os.write(fd, b"x"),
        lambda: os.ftruncate(fd, 1),
        lambda: os.ftruncate(fd, 100),
        lambda: mmap.mmap(fd, 7),
    ):
        with pytest.raises(PermissionError):
            attempt()
    with pytest.raises(StorageError):
        seal_memfd(fd)
    os.close(fd)


def test_a_loader_can_open_it_by_path() -> None:
    fd = memfd_of(b"weights", "model")
    with open(f"/proc/self/fd/{fd}", "rb") as file:  # noqa: PTH123
        assert file.read() == b"weights"
    os.close(fd)


def test_sealing_under_a_writable_map_is_refused() -> None:
    fd = create_memfd("model", 16)
    with mmap.mmap(fd, 16), pytest.raises(StorageError):
        seal_memfd(fd)
    seal_memfd(fd)
    os.close(fd)


@pytest.fixture
def little_memory() -> Iterator[None]:
    """A limit on file sizes, 4 KiB, stands for memory that runs out."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("little_memory")
def test_more_memory_than_there_is_is_an_error_not_a_crash() -> None:
    before = _descriptors()
    with pytest.raises(StorageError) as caught:
        create_memfd("model", 8192)
    assert caught.value.code == "storage.full"
    assert _descriptors() == before


@pytest.mark.usefixtures("little_memory")
def test_memory_that_runs_out_while_it_is_written_is_an_error() -> None:
    fd = create_memfd("model", 4096)
    with pytest.raises(StorageError) as caught:
        write_memfd(fd, bytes(4096), 2048)
    assert caught.value.code == "storage.full"
    os.close(fd)


def test_an_empty_memfd_cannot_be_mapped() -> None:
    fd = os.memfd_create("empty")
    with pytest.raises(StorageError):
        read_memfd(fd)
    os.close(fd)


def _descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}
