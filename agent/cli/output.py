"""What a command says and leaves behind: JSON documents and pictures, whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console

from agent.host.disk import REAL_DISK, require_writable

STDOUT = Path("-")
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_out, _err = (
    Console(highlight=False, markup=False),
    Console(highlight=False, markup=False, stderr=True),
)


def tell(document: dict[str, Any], *lines: str, as_json: bool) -> None:
    """Print what a command did: one JSON object on one line, or lines for people, unwrapped: a broken path is no path."""
    if as_json:
        print_json(document)
        return
    for line in lines:
        _out.print(line, soft_wrap=True)


def print_json(document: Any) -> None:
    """Print plain values as JSON on one line."""
    typer.echo(json.dumps(document))


def mention(line: str, *, as_json: bool) -> None:
    """Print what a person should read meanwhile, beside the JSON where that is what is printed."""
    (_err if as_json else _out).print(line, soft_wrap=True)


def writable(target: Path | None) -> Path | None:
    """Callback of an option that names what is written in the end: what cannot be is refused before the work.

    Raises:
        StorageError: It cannot be written.
    """
    if target is not None and target != STDOUT:
        require_writable(target)
    return target


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
