"""What `vigil detect` says of each picture: JSON for programs, a table or lines for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from agent.schema.values import Shape

_STAGES = ("pre", "infer", "post")


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """One object in one picture; `box` is (x_min, y_min, x_max, y_max) in its pixels, as `shape` is."""

    label: str
    score: float
    box: list[float]
    shape: Shape | None = None


class Guess(msgspec.Struct, frozen=True):
    """A class that a whole picture may belong to, with its probability."""

    label: str
    score: float


class PictureResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was found in one picture; `frame` is its number in a video, 0 for pictures.

    `ranking` holds a classifier's best classes, best first.
    """

    source: str
    frame: int
    width: int
    height: int
    objects: list[Finding]
    stages_ms: dict[str, float]
    ranking: list[Guess] = []


def print_json(results: Iterable[PictureResult]) -> None:
    """Print one JSON document a picture, each on a line."""
    for result in results:
        typer.echo(msgspec.json.encode(result).decode())


def print_table(results: Iterable[PictureResult]) -> None:
    """Print one table when all pictures were seen."""
    table = Table("picture", "frame", "objects", *(f"{stage} ms" for stage in _STAGES))
    for result in results:
        times = [f"{result.stages_ms[stage]:.1f}" for stage in _STAGES]
        table.add_row(Path(result.source).name, str(result.frame), _summary(result), *times)
    Console().print(table)


def print_lines(results: Iterable[PictureResult]) -> None:
    """Print a line whenever something else is seen than before, for pictures that have no end."""
    seen = ""
    for result in results:
        if (now := _summary(result)) != seen:
            seen = now
            typer.echo(f"frame {result.frame}: {now} ({sum(result.stages_ms.values()):.1f} ms)")


def _summary(result: PictureResult) -> str:
    if result.ranking:
        return ", ".join(f"{guess.label} {guess.score:.2f}" for guess in result.ranking)
    counts = Counter(found.label for found in result.objects)
    return ", ".join(f"{counts[name]} {name}" for name in sorted(counts)) or "-"
