"""`vigil release quantise`: static INT8 within a budget of accuracy, layer by layer back to float where it is exceeded."""

from __future__ import annotations

import enum
import itertools
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from agent.cli.detect import Family, read_labels
from agent.cli.output import write_file
from agent.cli.progress import with_progress
from agent.errors import PackageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from agent.vision.dataset import Dataset
    from agent.vision.detector import Detector
    from agent.vision.evaluation import Comparison, EvalReport

_LEAST_CONFIDENCE, _IOU = 0.005, 0.6
# How many convolutions stay in float, from try to try.
_STEPS = (0, 12, 20, 32, 48)
_WORST_CLASSES = 5


class Calibration(str, enum.Enum):
    """How an activation's range is found: all of it, or all but its outliers (slower)."""

    MINMAX = "minmax"
    PERCENTILE = "percentile"


def quantise(  # noqa: PLR0913, PLR0917 - one parameter for each option of the command line
    model: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A float .onnx file.")],
    out: Annotated[Path, typer.Option("--out", help="File to write.")],
    calibrate: Annotated[
        Path, typer.Option(exists=True, help="Folder or video of what the cameras see.")
    ],
    dataset: Annotated[
        Path, typer.Option(exists=True, dir_okay=False, help="Labels in COCO's instances format.")
    ],
    images: Annotated[Path, typer.Option(exists=True, help="Folder or video of its pictures.")],
    max_drop: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Loss of mAP50-95 to bear.")
    ] = 0.01,
    pictures: Annotated[int, typer.Option(min=1, help="Calibration pictures at most.")] = 64,
    method: Annotated[
        Calibration, typer.Option(help="How an activation's range is found.")
    ] = Calibration.MINMAX,
    family: Annotated[
        Family | None, typer.Option(help="How outputs are decoded, if the file is silent.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(exists=True, help="Class names, one a line.")
    ] = None,
) -> None:
    """Quantise a detector to INT8; refuse when it loses more accuracy than you bear.

    Convolutions that lose most of their signal are kept in float, more of them from try to try, until the loss is within the budget.
    """
    from agent.release.quantise import Quantiser
    from agent.vision.dataset import load_dataset
    from agent.vision.evaluation import compare

    truth, names = load_dataset(dataset, images), read_labels(labels) if labels else None
    detector = _detector(model, family, names)
    baseline = _measure(detector, truth, model.name)
    inputs = list(_inputs(detector, calibrate, pictures))
    tries: list[tuple[str, int, EvalReport]] = [("float", model.stat().st_size, baseline)]
    with Quantiser(model, inputs, method.value) as quantiser:
        worst_first: list[str] = []
        for kept in _STEPS:
            worst_first = worst_first or (quantiser.by_harm() if kept else [])
            file = quantiser.quantise(worst_first[:kept])
            report = _measure_bytes(file, family, names, truth)
            tries.append((f"int8, {kept} in float", len(file), report))
            verdict = compare(report, baseline, max_drop)
            if verdict.passed:
                break
    Console().print(_table(tries))
    if not verdict.passed:
        raise _refusal(model, verdict)
    write_file(out, file)
    Console(highlight=False).print(f"{out}: written")


def _detector(model: Path, family: Family | None, names: Sequence[str] | None) -> Detector:
    from agent.vision.detector import load_detector

    return load_detector(
        model,
        family=family.value if family else None,
        labels=names,
        confidence=_LEAST_CONFIDENCE,
        iou=_IOU,
    )


def _measure(detector: Detector, truth: Dataset, name: str) -> EvalReport:
    from agent.vision.evaluation import evaluate

    pictures = with_progress(truth.pictures(), f"Evaluating {name}", len(truth.files))
    return evaluate(detector, truth, pictures).report


def _measure_bytes(
    file: bytes, family: Family | None, names: Sequence[str] | None, truth: Dataset
) -> EvalReport:
    with tempfile.TemporaryDirectory(prefix="vigil-quantise-") as folder:
        path = Path(folder) / "int8.onnx"
        path.write_bytes(file)
        return _measure(_detector(path, family, names), truth, path.name)


def _inputs(detector: Detector, source: Path, wanted: int) -> Iterator[NDArray[np.float32]]:
    """Yield what the network is given for pictures spread over the source, by the device's own preprocessing."""
    from agent.vision.gallery import open_source

    total, pictures = open_source(source)
    every = max(1, total // wanted)
    for picture in itertools.islice(pictures, 0, every * wanted, every):
        detector.letterbox.fill(picture.image)
        yield detector.backend.buffer.copy()


def _refusal(model: Path, verdict: Comparison) -> PackageError:
    worst = ", ".join(f"{one.label} {one.drop:.3f}" for one in verdict.classes[:_WORST_CLASSES])
    return PackageError(
        f"{model}: INT8 loses {verdict.drop:.4f} of mAP50-95, {verdict.max_drop:.4f} may be lost; most: {worst}",
        code="package.accuracy",
        hint="calibrate on pictures like those your cameras take, try --method percentile, or train with quantisation",
    )


def _table(tries: list[tuple[str, int, EvalReport]]) -> Table:
    table = Table("", "size, KB", "mAP50-95", "mAP50", "lost", "infer p50, ms")
    before = tries[0][2].map50_95
    for name, size, report in tries:
        figures = (report.map50_95, report.map50, before - report.map50_95)
        cells = [f"{value:.4f}" for value in figures]
        table.add_row(name, str(round(size / 1e3)), *cells, f"{report.stages_ms['infer'].p50:.1f}")
    return table
