"""One process for each folder: a lock that ends with its holder, however it ends."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from agent.errors import InUseError
from agent.host.disk import REAL_DISK, storage_errors

if TYPE_CHECKING:
    from pathlib import Path

LOCK = "lock"


class Alone:
    """Holds `folder` for this process until `close`, or until the process ends.

    Raises:
        InUseError: Another process holds it (code `state.in_use`).
        StorageError: The lock file cannot be opened.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / LOCK
        REAL_DISK.make_dirs(folder)
        with storage_errors(path):
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(self._fd, 20, 0).decode(errors="replace").strip()
            os.close(self._fd)
            raise InUseError(
                f"{folder}: another agent uses it, process {holder or 'unknown'}",
                code="state.in_use",
                hint="stop that one first (systemctl stop vigil.service), or give this one another state_dir",
            ) from error
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        """Let others in; idempotent."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
