"""Sealed anonymous memory: how plaintext weights travel without a file system.

A memfd is written, then sealed: nobody, not even the process that made it, can change or resize it afterwards
(memfd_create(2), F_ADD_SEALS). Writing beats filling a map: no fault and no zeroing for every fresh page, and too
little memory is an error, not a SIGBUS.
"""

from __future__ import annotations

import fcntl
import mmap
import os

from agent.errors import StorageError

_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


def create_memfd(name: str, size: int) -> int:
    """Return a new memfd of `size` bytes; the caller closes it.

    Raises:
        StorageError: The memory is not there (code `storage.full`).
    """
    try:
        fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except OSError as error:
        raise _no_memory(size, error) from error
    try:
        # Not posix_fallocate: memfds have no size limit, it would run into the OOM killer, not an error.
        os.ftruncate(fd, size)
    except OSError as error:
        os.close(fd)
        raise _no_memory(size, error) from error
    return fd


def write_memfd(fd: int, data: bytes | memoryview, offset: int = 0) -> None:
    """Write all of `data` at `offset`.

    Raises:
        StorageError: The memory is not there (code `storage.full`).
    """
    with memoryview(data) as view:
        done = 0
        while done < len(view):
            try:
                done += os.pwrite(fd, view[done:], offset + done)
            except OSError as error:
                raise _no_memory(len(view), error) from error


def seal_memfd(fd: int) -> None:
    """Make the memfd immutable for good.

    Raises:
        StorageError: It could not be sealed, for example because it is mapped writable.
    """
    try:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    except OSError as error:
        raise StorageError(f"memfd {fd}: cannot be sealed: {error.strerror}") from error


def memfd_of(data: bytes, name: str) -> int:
    """Return a sealed memfd that holds `data` (at least one byte).

    Raises:
        StorageError: The memory is not there.
    """
    fd = create_memfd(name, len(data))
    try:
        write_memfd(fd, data)
        seal_memfd(fd)
    except BaseException:
        os.close(fd)
        raise
    return fd


def read_memfd(fd: int) -> mmap.mmap:
    """Return a read-only map of the whole memfd; the caller closes it.

    Raises:
        StorageError: The descriptor cannot be mapped, for example because it is empty.
    """
    try:
        return mmap.mmap(fd, 0, prot=mmap.PROT_READ)
    except (OSError, ValueError) as error:
        raise StorageError(f"memfd {fd}: cannot be mapped: {error}") from error


def bytes_of(fd: int, limit: int) -> bytes:
    """Return what an untrusted process put in a memfd; reading, unlike mapping, bears that it changes meanwhile.

    Raises:
        StorageError: It holds more than `limit` bytes (`storage.too_long`), or cannot be read.
    """
    try:
        size = os.fstat(fd).st_size
        data = os.pread(fd, size, 0) if size <= limit else b""
    except OSError as error:
        raise StorageError(f"memfd {fd}: cannot be read: {error.strerror}") from error
    if size > limit:
        message = f"memfd {fd}: expected at most {limit} bytes, found {size}"
        raise StorageError(message, code="storage.too_long")
    return data


def _no_memory(size: int, error: OSError) -> StorageError:
    message = f"cannot reserve {size} bytes of memory: {error.strerror}"
    return StorageError(
        message, code="storage.full", hint="stop other programs or use a smaller model"
    )
