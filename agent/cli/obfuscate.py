"""`vigil release obfuscate`: a model file that no longer explains itself, and the proof that it computes the same."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from agent.cli.output import AsJson, tell, writable, write_file
from agent.errors import PackageError
from agent.host.disk import REAL_DISK

if TYPE_CHECKING:
    from agent.release.obfuscate.proof import Proof

_MODEL_LIMIT = 1 << 30
INERT_LAYERS = 8


@dataclass(frozen=True)
class Hidden:
    """A model file before and after, and the proof that both compute the same."""

    before: bytes
    after: bytes
    seed: int
    proof: Proof


def obfuscate(
    model: Annotated[Path, typer.Argument(help="An .onnx or .tflite file.")],
    out: Annotated[
        Path, typer.Option("--out", dir_okay=False, callback=writable, help="File to write.")
    ],
    seed: Annotated[
        int | None, typer.Option(help="Decides names and order; from the file itself if not given.")
    ] = None,
    inert: Annotated[
        int, typer.Option(min=0, help="Inert layers to add to an ONNX graph.")
    ] = INERT_LAYERS,
    tolerance: Annotated[
        float, typer.Option(min=0.0, help="Greatest difference of an output to bear.")
    ] = 0.0,
    as_json: AsJson = False,
) -> None:
    """Take names, metadata and structure out of a model; refuse unless it computes the same.

    The file then says neither labels nor family: a release's draft does.
    """
    found = hide(model, inert, seed, tolerance)
    write_file(out, found.after)
    Console(stderr=as_json).print(_table(found))
    told = {
        "file": str(out),
        "seed": found.seed,
        "bytes_before": len(found.before),
        "bytes": len(found.after),
        "same_bits": found.proof.identical,
        "largest_difference": found.proof.largest,
        "slowdown": round(found.proof.slowdown, 3),
    }
    tell(told, f"{out}: written, seed {found.seed}", as_json=as_json)


def hide(
    model: Path, inert: int, seed: int | None = None, tolerance: float = 0.0, rounds: int = 20
) -> Hidden:
    """Obfuscate a model file and prove it; time both so many `rounds`.

    Raises:
        PackageError: It is no model, or `package.obfuscation` when its outputs differ by more than `tolerance`.
    """
    from agent.release.obfuscate import Plan
    from agent.release.obfuscate import obfuscate as hidden_from
    from agent.release.obfuscate.proof import compare

    before = REAL_DISK.read(model, _MODEL_LIMIT)
    chosen = _seed_of(before) if seed is None else seed
    try:
        after = hidden_from(before, Plan(chosen, inert))
    except PackageError as error:
        raise PackageError(f"{model}: {error.message}", code=error.code, hint=error.hint) from error
    proof = compare(before, after, rounds=rounds)
    if proof.largest > tolerance or (not tolerance and not proof.identical):
        raise PackageError(
            f"{model}: obfuscated it differs by {proof.largest:.3g} in {proof.different} values",
            code="package.obfuscation",
            hint="fewer inert layers (--inert 0), another --seed, or a --tolerance you can bear",
        )
    return Hidden(before, after, chosen, proof)


def _seed_of(model: bytes) -> int:
    return int.from_bytes(hashlib.sha256(model).digest()[:4], "big")


def _table(found: Hidden) -> Table:
    proof, table = found.proof, Table("", "before", "after")
    table.add_row("size, bytes", str(len(found.before)), str(len(found.after)))
    same = "the same bits" if proof.identical else f"within {proof.largest:.3g}"
    table.add_row(f"outputs, {proof.inputs} random inputs", "", same)
    table.add_row("time", "1.00", f"{proof.slowdown:.2f}")
    return table
