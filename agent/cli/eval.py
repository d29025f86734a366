"""`vigil eval`: COCO accuracy of a model file, alone or against a baseline."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from agent.cli.detect import Backend, Family, read_labels
from agent.cli.output import STDOUT, writable, write_file, write_json
from agent.cli.progress import with_progress
from agent.schema.values import MAX_THREADS

if TYPE_CHECKING:
    from agent.vision.dataset import Dataset
    from agent.vision.detector import Detector
    from agent.vision.evaluation import Comparison, EvalReport, Evaluation
    from agent.vision.tracking_accuracy import TrackingReport

_DROPPED = 1
_CLASSES_SHOWN = 15


class EvalDocument(msgspec.Struct, frozen=True):
    """What `--json` gives."""

    model: str
    sha256: str
    dataset: str
    report: EvalReport
    baseline: str | None = None
    comparison: Comparison | None = None
    tracking: TrackingReport | None = None


def evaluate(  # noqa: PLR0913, PLR0917 - one parameter for each option of the command line
    model: Annotated[
        Path, typer.Option(exists=True, dir_okay=False, help="An .onnx or .tflite file.")
    ],
    dataset: Annotated[
        Path, typer.Option(exists=True, dir_okay=False, help="Labels in COCO's instances format.")
    ],
    images: Annotated[
        Path, typer.Option(exists=True, help="Folder of the pictures, or a video of them.")
    ],
    json_file: Annotated[
        Path | None,
        typer.Option(
            "--json",
            dir_okay=False,
            callback=writable,
            help="Write the report to this file; - prints it.",
        ),
    ] = None,
    plots: Annotated[
        Path | None,
        typer.Option(
            file_okay=False, callback=writable, help="Folder for precision and confusion plots."
        ),
    ] = None,
    confidence: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Least score of a box.")
    ] = 0.005,
    iou: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Overlap above which two boxes are one.")
    ] = 0.6,
    baseline: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="A model to compare with.")
    ] = None,
    max_drop: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Loss of mAP50-95 against the baseline to bear.")
    ] = 0.01,
    family: Annotated[
        Family | None, typer.Option(help="How outputs are decoded, if the file is silent.")
    ] = None,
    baseline_family: Annotated[
        Family | None, typer.Option(help="The same of the baseline.")
    ] = None,
    backend: Annotated[
        Backend | None, typer.Option(help="Runtime, if the file does not show it.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(exists=True, help="Class names, one a line, of all models.")
    ] = None,
    threads: Annotated[
        int, typer.Option(min=1, max=MAX_THREADS, help="CPU threads of the runtime.")
    ] = 2,
    tracking: Annotated[
        bool,
        typer.Option("--tracking", help="Judge tracking, too: labels of a video with track_id."),
    ] = False,
) -> None:
    """Measure the COCO accuracy of a model; with a baseline, fail when it lost too much."""
    from agent.vision.dataset import load_dataset
    from agent.vision.detector import load_detector
    from agent.vision.evaluation import compare
    from agent.vision.plots import require_plots

    if plots is not None:
        require_plots()
    truth = load_dataset(dataset, images)
    names = read_labels(labels) if labels else None

    def load(path: Path, kind: Family | None) -> Detector:
        return load_detector(
            path,
            backend=backend.value if backend else None,
            family=kind.value if kind else None,
            labels=names,
            threads=threads,
            confidence=confidence,
            iou=iou,
        )

    detector = load(model, family)
    judged = _measure(model, detector, truth)
    document = EvalDocument(str(model), _digest(model), str(dataset), judged.report)
    if baseline is not None:
        reference = _measure(baseline, load(baseline, baseline_family), truth)
        comparison = compare(judged.report, reference.report, max_drop)
        document = msgspec.structs.replace(document, baseline=str(baseline), comparison=comparison)
    if tracking:
        followed = _track(model, detector, truth)
        document = msgspec.structs.replace(document, tracking=followed)
    if plots is not None:
        _draw(plots, judged, truth)
    _report(document, json_file)
    if document.comparison is not None and not document.comparison.passed:
        sys.exit(_DROPPED)


def _measure(path: Path, detector: Detector, truth: Dataset) -> Evaluation:
    from agent.vision.evaluation import evaluate as evaluate_model

    pictures = with_progress(truth.pictures(), f"Evaluating {path.name}", len(truth.files))
    return evaluate_model(detector, truth, pictures)


def _track(path: Path, detector: Detector, truth: Dataset) -> TrackingReport:
    from agent.vision.gallery import frame_rate
    from agent.vision.tracking_trial import evaluate_tracking

    fps = frame_rate(truth.images)
    pictures = with_progress(truth.pictures(), f"Tracking with {path.name}", len(truth.files))
    return evaluate_tracking(detector, truth, pictures, fps)


def _draw(folder: Path, judged: Evaluation, truth: Dataset) -> None:
    from agent.vision.plots import confusion_matrix, precision_recall

    names = [truth.names[number] for number in range(len(truth.names))]
    write_file(folder / "precision-recall.png", precision_recall(judged.accuracy, truth.names))
    write_file(folder / "confusion.png", confusion_matrix(judged.confusion, names))


def _report(document: EvalDocument, json_file: Path | None) -> None:
    if json_file is not None:
        write_json(document, json_file)
    if json_file == STDOUT:
        return
    console = Console()
    console.print(_classes(document.report))
    console.print(_overall(document), highlight=False)
    if document.tracking is not None:
        console.print(_followed(document.tracking), highlight=False)
    if document.comparison is not None:
        console.print(_changes(document.comparison))
        console.print(_verdict(document.comparison), highlight=False)


def _overall(document: EvalDocument) -> str:
    report = document.report
    times = ", ".join(f"{stage} {ms.p50:.2f}" for stage, ms in report.stages_ms.items())
    return (
        f"{Path(document.model).name}: mAP50-95 {report.map50_95:.4f}, mAP50 {report.map50:.4f} "
        f"on {report.images} pictures (confidence {report.confidence}, IoU {report.iou}); "
        f"p50 ms: {times}"
    )


def _followed(report: TrackingReport) -> str:
    return (
        f"tracking: MOTA {report.mota:.4f}, IDF1 {report.idf1:.4f}, {report.switches} id switches; "
        f"{report.objects} objects, {report.mostly_tracked} mostly tracked, in {report.tracks} tracks; "
        f"{report.misses} boxes missed and {report.false_boxes} false of {report.boxes}"
    )


def _verdict(comparison: Comparison) -> str:
    change = (
        f"lost {comparison.drop:.4f}" if comparison.drop > 0 else f"gained {-comparison.drop:.4f}"
    )
    judged = "within" if comparison.passed else "MORE THAN"
    return (
        f"{change} of mAP50-95 against {comparison.baseline.map50_95:.4f}: "
        f"{judged} the {comparison.max_drop:.4f} allowed"
    )


def _classes(report: EvalReport) -> Table:
    table = Table("class", "objects", "mAP50-95", "mAP50", title="Most frequent classes")
    for one in sorted(report.classes, key=lambda one: -one.objects)[:_CLASSES_SHOWN]:
        table.add_row(one.label, str(one.objects), f"{one.map50_95:.3f}", f"{one.map50:.3f}")
    return table


def _changes(comparison: Comparison) -> Table:
    table = Table("class", "objects", "baseline", "model", "lost", title="Classes that lost most")
    for one in comparison.classes[:_CLASSES_SHOWN]:
        figures = (one.baseline, one.model, one.drop)
        table.add_row(one.label, str(one.objects), *(f"{value:.3f}" for value in figures))
    return table


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
