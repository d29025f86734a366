"""`vigil release gate`: no variant is released that lost too much of the model it was made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from agent.cli.detect import Family
from agent.cli.figures import VariantFigures, figures, show_figures
from agent.cli.golden import golden_pictures, load_variant
from agent.cli.output import writable, write_json
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
    """What `--json` gives: for each variant what was measured, what it costs, and why it is refused."""

    source: str
    budget: Budget
    evidence: list[Evidence]
    figures: list[VariantFigures]
    refused: dict[str, list[str]]


@dataclass(frozen=True)
class Reference:
    """The model that variants are compared with, and its report on the validation set."""

    detector: Detector
    report: EvalReport


class Claim(NamedTuple):
    """A variant's id, and the accuracy that its draft states."""

    variant: str
    accuracy: float


class Judged(NamedTuple):
    """What was found of a variant; no report where it could not be measured."""

    evidence: Evidence
    report: EvalReport | None


@dataclass(frozen=True)
class Court:
    """What variants are judged by.

    Attributes:
        pictures: The golden pictures, BGR, shape (H, W, 3).
    """

    pictures: Sequence[NDArray[np.uint8]]
    budget: Budget

    def judge(
        self,
        claim: Claim,
        load: Callable[[], Detector],
        measured: Callable[[Detector], EvalReport],
        reference: Reference,
    ) -> Judged:
        """Compare a variant with what it was made from; one that does not load or run is evidence, too.

        Args:
            claim: What its draft says.
            load: Gives the variant.
            measured: Gives its report on the validation set.
            reference: What it was made from.
        """
        from agent.vision.evaluation import compare
        from agent.vision.fidelity import compare_on
        from agent.vision.golden import MatchRule

        rule = MatchRule(self.budget.iou, self.budget.score_tolerance)
        variant, claimed = claim
        try:
            detector = load()
            seen = compare_on(self.pictures, detector, reference.detector, rule)
            report = measured(detector)
        except ModelError as error:
            fault = Evidence(variant=variant, claimed=claimed, fault=error.diagnostics())
            return Judged(fault, None)
        verdict = compare(report, reference.report, self.budget.max_drop)
        evidence = Evidence(
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
        return Judged(evidence, report)


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
        Path | None,
        typer.Option(
            "--json",
            dir_okay=False,
            callback=writable,
            help="Write the evidence to this file; - prints it.",
        ),
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
    truth = load_dataset(dataset, images)
    court = Court(
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
    reference = Reference(detector, measure(detector, truth, source.name))
    judged = [
        court.judge(
            Claim(one.id, one.accuracy),
            partial(load_variant, wanted, one, folder),
            partial(measure, truth=truth, name=one.id),
            reference,
        )
        for one in wanted.variants
    ]
    evidence = [one.evidence for one in judged]
    refused = {
        one.variant: against for one in evidence if (against := reasons_against(one, court.budget))
    }
    steps = [figures("source", source, reference.report, reference.report)]
    costs = [VariantFigures(variant=source.name, steps=steps)]
    for one, found in zip(wanted.variants, judged, strict=True):
        file = folder / one.model
        steps = [figures("draft", file, found.report, reference.report)]
        costs.append(VariantFigures(variant=one.id, steps=steps, passed=one.id not in refused))
    if json_file is not None:
        report = GateReport(
            source=str(source),
            budget=court.budget,
            evidence=evidence,
            figures=costs,
            refused=refused,
        )
        write_json(report, json_file)
    show_figures(costs)
    refuse(refused, len(evidence))


def refuse(refused: Mapping[str, Sequence[str]], judged: int) -> None:
    """Refuse where there are reasons, of all variants at once.

    Args:
        refused: The reasons against those that must not pass.
        judged: How many variants there were.

    Raises:
        PackageError: `package.gate` when there is one.
    """
    if refused:
        told = "; ".join(f"{one}: {reason}" for one, all_ in refused.items() for reason in all_)
        raise PackageError(
            f"{len(refused)} of {judged} variants refused: {told}",
            code="package.gate",
            hint="calibrate on pictures like those your cameras take, keep more layers in float, "
            "prune less or train longer, or state a wider budget if you can bear the loss",
        )
