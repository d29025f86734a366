"""What a step made, kept under the digest of all that it was made from: nothing is made twice, and what was cut off goes on.

A file appears whole or not at all. Its name is `<step>-<digest><suffix>`; the digest covers the step's inputs, files by their
content, and this version of Vigil. Deleting the folder loses nothing but time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

from agent import __version__
from agent.errors import StorageError
from agent.host.disk import REAL_DISK, Disk

_READ_BYTES = 1 << 20
_NAMED_DIGITS = 20

Told = Callable[[str, bool], None]


class Cache:
    """A folder of made files.

    Args:
        folder: Created where it is not there.
        told: Called once for each file, with its step's name, and whether it was there already.
    """

    def __init__(self, folder: Path, told: Told, disk: Disk = REAL_DISK) -> None:
        self._folder = folder
        self._told = told
        self._disk = disk
        self._digests: dict[tuple[str, int, int], str] = {}
        self._told_of: set[Path] = set()
        disk.make_dirs(folder)

    def file(
        self, step: str, suffix: str, inputs: Mapping[str, object], make: Callable[[], bytes]
    ) -> Path:
        """Return the file that `make` gives for `inputs`; it is not called when that is known.

        Args:
            step: What is done, part of the file's name.
            suffix: Of the file's name.
            inputs: All that decides the content, by name: paths of files and folders, and JSON values.
            make: Gives the content.

        Raises:
            StorageError: An input cannot be read or the file cannot be written.
        """
        path = self._folder / f"{step}-{self._key(step, inputs)[:_NAMED_DIGITS]}{suffix}"
        known = self._disk.exists(path)
        if not known or path not in self._told_of:
            self._told(step, known)
        self._told_of.add(path)
        if not known:
            self._disk.write_atomic(path, make(), mode=0o644)
        return path

    def _key(self, step: str, inputs: Mapping[str, object]) -> str:
        described = {
            name: self.digest(value) if isinstance(value, Path) else value
            for name, value in inputs.items()
        }
        text = json.dumps([__version__, step, described], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def digest(self, path: Path) -> str:
        """Return the SHA-256 of a file, or of the names and contents of a folder, hexadecimal.

        Raises:
            StorageError: It cannot be read.
        """
        try:
            return self._digest(path)
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror}", code="storage.failed") from error

    def _digest(self, path: Path) -> str:
        if not path.is_dir():
            return self._file_digest(path)
        parts = sorted(part for part in path.rglob("*") if part.is_file())
        names = [[part.relative_to(path).as_posix(), self._file_digest(part)] for part in parts]
        return hashlib.sha256(json.dumps(names).encode()).hexdigest()

    def _file_digest(self, path: Path) -> str:
        """Read a file once in the cache's life, unless it changes."""
        about = path.stat()
        known = (str(path), about.st_size, about.st_mtime_ns)
        if known not in self._digests:
            digest = hashlib.sha256()
            with path.open("rb") as file:
                while block := file.read(_READ_BYTES):
                    digest.update(block)
            self._digests[known] = digest.hexdigest()
        return self._digests[known]
