"""Small files of `/proc`, `/sys` and `/etc`, read without raising: what cannot be read is empty."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# More than dpkg's list of packages takes on a full desktop.
_LIMIT = 16 * 1024 * 1024


def text(path: Path) -> str:
    """Return the first 16 MiB of a file as text without the ends' blanks and NULs, or an empty string."""
    try:
        with path.open("rb") as file:
            return file.read(_LIMIT).decode("utf-8", errors="replace").strip(" \t\r\n\0")
    except OSError:
        return ""


def number(path: Path) -> int | None:
    """Return the whole number in a file (decimal, or hexadecimal after `0x`), or None."""
    try:
        return int(text(path), 0)
    except ValueError:
        return None


def any_path(root: Path, patterns: Iterable[str]) -> bool:
    """Say whether something under `root` matches one of the glob patterns."""
    return any(next(root.glob(pattern), None) is not None for pattern in patterns)
