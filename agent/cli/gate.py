"""`vigil release gate`: no variant is released that lost too much of the model it was made from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from agent.cli.detect import Family
from agent.cli.golden import golden_pictures, load_variant
from agent.cli.output import write_json
from agent.cli.progress import with_progress
from agent.errors import ModelError, PackageError
from agent.release.gate import Budget, ClassLoss, Evidence, reasons_against
from agent.schema.values import Struct

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from agent.vision.dataset import Dataset
    from agent.vision.detector import Detector
    from agent.vision.evaluation import EvalReport

_USUAL = Budget()
# As `vigil eval` measures.
_LEAST_CONFIDENCE, _IOU = 0.005, 0.6


class GateReport(Struct):
    """What `--json` gives: for each variant what was measured, and why it is refused."""

    source: str
    budget: Budget
    evidence: list[Evidence]
    refused: dict[str, list[str]]


@dataclass(frozen=True)
class Reference:
    """The model that variants are compared with, and its report on the validation set."""

    detector: Detector
    report: EvalReport


@dataclass(frozen=True)
class Court:
    """What variants are judged on.

    Attributes:
        truth: The validation set.
        pictures: The golden pictures, BGR, shape (H, W, 3).
    """

    truth: Dataset
    pictures: Sequence[NDArray[np.uint8]]
    budget: Budget

    def reference(self, detector: Detector, name: str) -> Reference:
        """Measure a model that variants are made from."""
        return Reference(detector, measure(detector, self.truth, name))

    def judge(
        self, variant: str, claimed: float, load: Callable[[], Detector], reference: Reference
    ) -> Evidence:
        """Measure a variant; one that does not load or run is evidence, too."""
        from agent.vision.evaluation import compare
        from agent.vision.fidelity import compare_on
        from agent.vision.golden import MatchRule

        rule = MatchRule(self.budget.iou, self.budget.score_tolerance)
        try:
            detector = load()
            seen = compare_on(self.pictures, detector, reference.detector, rule)
            report = measure(detector, self.truth, variant)
        except ModelError as error:
            return Evidence(variant=variant, claimed=claimed, fault=error.diagnostics())
        verdict = compare(report, reference.report, self.budget.max_drop)
        return Evidence(
            variant=variant,
            claimed=claimed,
            accuracy=report.map50_95,
            reference=reference.report.map50_95,
            losses=[
                ClassLoss(label=one.label, objects=one.objects, drop=one.drop)
                for one in verdict.classes
            ],
            recall=round(seen.matched.recall, 4),
            precision=round(seen.matched.precision, 4),
            repeat=seen.repeat,
        )


def measure(detector: Detector, truth: Dataset, name: str) -> EvalReport:
    """Return a model's accuracy, measured as `vigil eval` does by itself.

    Raises:
        ConfigError: Its classes are not the dataset's.
        ModelError: It does not run, or its outputs make no sense.
    """
    from agent.vision.evaluation import evaluate

    pictures = with_progress(truth.pictures(), f"Evaluating {name}", len(truth.files))
    searching = detector.with_thresholds(_LEAST_CONFIDENCE, _IOU)
    return evaluate(searching, truth, pictures).report


def gate(  # noqa: PLR0913, PLR0917 - one parameter for each option of the command line
    draft: Annotated[Path, typer.Argument(help="Draft of the release (YAML).")],
    source: Annotated[
        Path,
        typer.Option(exists=True, dir_okay=False, help="The model its variants were made from."),
    ],
    dataset: Annotated[
        Path, typer.Option(exists=True, dir_okay=False, help="Labels in COCO's instances format.")
    ],
    images: Annotated[Path, typer.Option(exists=True, help="Folder or video of its pictures.")],
    clip: Annotated[
        Path | None,
        typer.Option(exists=True, help="Video to take golden pictures from that are missing."),
    ] = None,
    max_drop: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Loss of mAP50-95 to bear.")
    ] = _USUAL.max_drop,
    max_class_drop: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="The same of a single class.")
    ] = _USUAL.max_class_drop,
    min_match: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of golden boxes to agree on.")
    ] = _USUAL.min_match,
    source_family: Annotated[
        Family | None, typer.Option(help="How the source's outputs are decoded, if silent.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the evidence to this file; - prints it.")
    ] = None,
) -> None:
    """Judge every variant of a draft against its source; refuse what lost too much, with the reasons.

    Accuracy on a validation set, agreement on the golden pictures, two runs on the same input, and what the draft claims.
    """
    from agent.release.draft_file import read_draft
    from agent.vision.dataset import load_dataset
    from agent.vision.detector import load_detector

    wanted, folder = read_draft(draft), draft.resolve().parent
    names = [folder / name for name in wanted.golden.images]
    court = Court(
        load_dataset(dataset, images),
        [picture.image for picture in golden_pictures(names, clip)],
        Budget(max_drop=max_drop, max_class_drop=max_class_drop, min_match=min_match),
    )
    detector = load_detector(
        source,
        family=source_family.value if source_family else None,
        labels=wanted.labels,
        confidence=wanted.golden.confidence,
        iou=wanted.golden.iou,
    )
    reference = court.reference(detector, source.name)
    found = [
        court.judge(one.id, one.accuracy, partial(load_variant, wanted, one, folder), reference)
        for one in wanted.variants
    ]
    refused = {
        one.variant: against for one in found if (against := reasons_against(one, court.budget))
    }
    if json_file is not None:
        evidence = GateReport(
            source=str(source), budget=court.budget, evidence=found, refused=refused
        )
        write_json(evidence, json_file)
    report(found, refused)


def report(found: Sequence[Evidence], refused: dict[str, list[str]]) -> None:
    """Show what was found of all variants; `refused` has the reasons against those that must not pass.

    Raises:
        PackageError: `package.gate` when there is one.
    """
    Console(stderr=True).print(_table(found, refused))
    if refused:
        told = "; ".join(f"{one}: {reason}" for one, all_ in refused.items() for reason in all_)
        raise PackageError(
            f"{len(refused)} of {len(found)} variants refused: {told}",
            code="package.gate",
            hint="calibrate on pictures like those your cameras take, keep more layers in float, "
            "or state a wider budget if you can bear the loss",
        )


def _table(found: Sequence[Evidence], refused: dict[str, list[str]]) -> Table:
    table = Table("variant", "mAP50-95", "lost", "golden found", "shared", "repeat", "verdict")
    for one in found:
        shares = [f"{one.recall:.3f}", f"{one.precision:.3f}", f"{one.repeat:.1g}"]
        figures = [f"{one.accuracy:.4f}", f"{one.drop:.4f}", *shares]
        shown = ["-"] * len(figures) if one.fault else figures
        table.add_row(one.variant, *shown, "REFUSED" if one.variant in refused else "passed")
    return table
