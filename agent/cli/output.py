"""What a command leaves behind: JSON documents and pictures, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import msgspec
import typer

from agent.host.disk import REAL_DISK

STDOUT = Path("-")


def write_json(document: msgspec.Struct, target: Path) -> None:
    """Write `document` to a file, or print it where `target` is `-`.

    Raises:
        StorageError: The file cannot be written.
    """
    data = msgspec.json.format(msgspec.json.encode(document), indent=2)
    if target == STDOUT:
        typer.echo(data.decode())
    else:
        write_file(target, data + b"\n")


def write_file(target: Path, data: bytes) -> None:
    """Write a file that others may read, and the folders above it.

    Raises:
        StorageError: It cannot be written.
    """
    REAL_DISK.make_dirs(target.parent)
    REAL_DISK.write_atomic(target, data, mode=0o644)
