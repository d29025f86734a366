"""What each step towards a smaller model gained and lost: a table, a document and a plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from agent.schema.values import Counter, Struct

if TYPE_CHECKING:
    from agent.vision.evaluation import EvalReport


class StepFigures(Struct):
    """A model after a step.

    Attributes:
        of: The variant.
        step: source, pruned, distilled or int8.
        size_bytes: Of the ONNX file.
        parameters: See `agent.release.graph_cost`, as `macs`.
        infer_ms: p50 of the inference alone, on this machine while it was measured.
        worst_class: The class that lost most against the source, and how much of mAP50-95.
    """

    of: str
    step: str
    size_bytes: Counter
    parameters: Counter
    macs: Counter
    infer_ms: float
    map50_95: float
    map50: float
    worst_class: str = ""
    worst_drop: float = 0.0


class StepsDocument(Struct):
    """What `steps.json` and `--json` hold."""

    steps: list[StepFigures]


def figures(
    of: str, step: str, file: Path, report: EvalReport, source: EvalReport | None
) -> StepFigures:
    """Return the figures of a step; `source` is the report of the model it all began with.

    Raises:
        PackageError: The file cannot be counted.
    """
    from agent.release.graph_cost import graph_cost
    from agent.vision.evaluation import compare

    cost = graph_cost(file)
    worst = compare(report, source, 1.0).classes[0] if source else None
    return StepFigures(
        of=of,
        step=step,
        size_bytes=file.stat().st_size,
        parameters=cost.parameters,
        macs=cost.macs,
        infer_ms=round(report.stages_ms["infer"].p50, 2),
        map50_95=round(report.map50_95, 4),
        map50=round(report.map50, 4),
        worst_class=worst.label if worst else "",
        worst_drop=worst.drop if worst else 0.0,
    )


def steps_table(steps: Sequence[StepFigures]) -> Table:
    """Return one line for each step."""
    table = Table(title="Before and after")
    for column in ("variant", "step"):
        table.add_column(column, overflow="fold")
    for column in ("KB", "parameters", "MMACs", "ms", "mAP50-95", "mAP50", "worst class lost"):
        table.add_column(column, justify="right", overflow="fold")
    for one in steps:
        table.add_row(
            one.of,
            one.step,
            str(round(one.size_bytes / 1e3)),
            f"{one.parameters:,}",
            f"{one.macs / 1e6:.1f}",
            f"{one.infer_ms:.2f}",
            f"{one.map50_95:.4f}",
            f"{one.map50:.4f}",
            f"{one.worst_class} {one.worst_drop:.3f}" if one.worst_class else "-",
        )
    return table
