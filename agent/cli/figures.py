"""What a variant costs and how much it sees, after each step that made it: one table, one document, one plot."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table

from agent.cli.output import STDOUT, write_file, write_json
from agent.errors import PackageError
from agent.schema.values import Counter, Struct

if TYPE_CHECKING:
    from agent.vision.evaluation import EvalReport

_UNKNOWN = "-"
_FILE_COLUMNS = 120


class StepFigures(Struct):
    """A model after a step; what could not be measured or counted is null.

    Attributes:
        step: source, pruned, distilled, aware (trained for INT8), int8 or fp16; draft for a file that a draft names.
        size_bytes: Of the file, before it is obfuscated and sealed.
        parameters: See `agent.release.graph_cost`, as `macs`.
        infer_ms: p50 of the inference alone, on this machine while it was measured.
        drop: How much of mAP50-95 was lost against the model that all began with, negative where it gained.
        worst_class: The class that lost most, and how much of mAP50-95; empty where nothing was lost.
    """

    step: str
    size_bytes: Counter
    parameters: Counter | None = None
    macs: Counter | None = None
    infer_ms: float | None = None
    map50_95: float | None = None
    map50: float | None = None
    drop: float | None = None
    worst_class: str = ""
    worst_drop: float = 0.0


class VariantFigures(Struct):
    """A variant, step by step.

    Attributes:
        variant: Its id.
        steps: From its source to the file that is released.
        passed: What the gate decided; null where it was not asked.
    """

    variant: str
    steps: list[StepFigures]
    passed: bool | None = None


class FiguresDocument(Struct):
    """What `variants.json` and `--json` hold."""

    variants: list[VariantFigures]


def figures(step: str, file: Path, report: EvalReport | None, reference: EvalReport) -> StepFigures:
    """Return the figures of a file.

    Args:
        step: What made it.
        file: ONNX or LiteRT.
        report: What it sees of the validation set; None where it does not run.
        reference: The same of the model that all began with.
    """
    from agent.release.graph_cost import graph_cost
    from agent.vision.evaluation import compare

    try:
        cost = graph_cost(file)
    except PackageError:  # it may run nevertheless, which is for others to judge
        cost = None
    parameters, macs = (cost.parameters, cost.macs) if cost else (None, None)
    size_bytes = file.stat().st_size
    if report is None:
        return StepFigures(step=step, size_bytes=size_bytes, parameters=parameters, macs=macs)
    compared = compare(report, reference, 1.0)
    worst = next((one for one in compared.classes if one.drop > 0), None)
    return StepFigures(
        step=step,
        size_bytes=size_bytes,
        parameters=parameters,
        macs=macs,
        infer_ms=round(report.stages_ms["infer"].p50, 2),
        map50_95=round(report.map50_95, 4),
        map50=round(report.map50, 4),
        drop=compared.drop,
        worst_class=worst.label if worst else "",
        worst_drop=worst.drop if worst else 0.0,
    )


def show_figures(found: Sequence[VariantFigures], json_file: Path | None = None) -> None:
    """Print the table; write the document, and beside it the plot where matplotlib is installed.

    Raises:
        StorageError: A file cannot be written.
    """
    # A file or a pipe has no width, and the 80 columns that are assumed would fold names.
    Console(stderr=True, width=None if sys.stderr.isatty() else _FILE_COLUMNS).print(_table(found))
    if json_file is None:
        return
    write_json(FiguresDocument(variants=list(found)), json_file)
    if json_file != STDOUT and importlib.util.find_spec("matplotlib"):
        write_file(json_file.with_suffix(".png"), _plot(found))


def _table(found: Sequence[VariantFigures]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False)
    table.add_column("variant", overflow="fold")
    table.add_column("step", no_wrap=True)
    for column in ("KB", "kparams", "MMACs", "ms", "mAP50-95", "lost"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("worst class", overflow="fold")
    table.add_column("verdict", no_wrap=True)
    for variant, one, is_last in _rows(found):
        table.add_row(
            variant.variant if one is variant.steps[0] else "",
            one.step,
            f"{one.size_bytes / 1e3:.0f}",
            _UNKNOWN if one.parameters is None else f"{one.parameters / 1e3:.1f}",
            _UNKNOWN if one.macs is None else f"{one.macs / 1e6:.1f}",
            _UNKNOWN if one.infer_ms is None else f"{one.infer_ms:.2f}",
            _UNKNOWN if one.map50_95 is None else f"{one.map50_95:.4f}",
            _UNKNOWN if one.drop is None else f"{one.drop:.4f}",
            f"{one.worst_class} {one.worst_drop:.3f}" if one.worst_class else _UNKNOWN,
            _verdict(variant) if is_last else "",
        )
    return table


def _verdict(variant: VariantFigures) -> str:
    return {None: "", True: "passed", False: "REFUSED"}[variant.passed]


def _rows(found: Sequence[VariantFigures]) -> Iterator[tuple[VariantFigures, StepFigures, bool]]:
    """Yield each step with its variant, and whether it is the last one."""
    for variant in found:
        for number, one in enumerate(variant.steps, 1):
            yield variant, one, number == len(variant.steps)


def _plot(found: Sequence[VariantFigures]) -> bytes:
    from agent.vision.plots import steps_plot

    rows = list(_rows(found))
    steps = [one for _, one, _ in rows]
    costs: dict[str, Sequence[float | None]] = {
        "size": [one.size_bytes for one in steps],
        "parameters": [one.parameters for one in steps],
        "MACs": [one.macs for one in steps],
        "ms": [one.infer_ms for one in steps],
    }
    names = [
        f"{variant.variant}\n{one.step}\n{_verdict(variant) if is_last else ''}"
        for variant, one, is_last in rows
    ]
    return steps_plot(names, [one.map50_95 for one in steps], costs)
