"""`vigil release quantise`: static INT8 within a budget of accuracy, layer by layer back to float where it is exceeded."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from agent.cli.detect import Family, read_labels
from agent.cli.gate import measure
from agent.cli.output import AsJson, tell, writable, write_file
from agent.errors import ConfigError, PackageError
from agent.release.optimise.settings import Quantisation, Ranges
from agent.schema.values import CalibrationMethod

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from agent.release.quantise import Quantiser
    from agent.release.quantise_litert import LiteRtQuantiser
    from agent.vision.dataset import Dataset
    from agent.vision.detector import Detector
    from agent.vision.evaluation import Comparison, EvalReport

LITERT = ".tflite"
CALIBRATION_PICTURES = 64
_WORST_CLASSES = 5


@dataclass(frozen=True)
class Tried:
    """What came of quantising.

    Attributes:
        file: The first file within the budget, or the last that was tried.
        tries: Name, size in bytes and report of the float model and of every try.
        verdict: Of `file` against the float model.
    """

    file: bytes
    tries: list[tuple[str, int, EvalReport]]
    verdict: Comparison


def quantise(  # noqa: PLR0913, PLR0917 - one parameter for each option of the command line
    model: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="A float .onnx or .tflite file.")
    ],
    out: Annotated[
        Path, typer.Option("--out", dir_okay=False, callback=writable, help="File to write.")
    ],
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
    pictures: Annotated[
        int, typer.Option(min=1, help="Calibration pictures at most.")
    ] = CALIBRATION_PICTURES,
    method: Annotated[
        CalibrationMethod, typer.Option(help="How an activation's range is found.")
    ] = CalibrationMethod.MINMAX,
    ranges: Annotated[
        Ranges, typer.Option(help="Ranges of activations: static, or dynamic for .tflite.")
    ] = Ranges.STATIC,
    reduce_range: Annotated[
        bool,
        typer.Option(
            "--reduce-range", help="Weights of seven bits (.onnx), for x86-64 without VNNI."
        ),
    ] = False,
    family: Annotated[
        Family | None, typer.Option(help="How outputs are decoded, if the file is silent.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(exists=True, help="Class names, one a line.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Quantise a detector to INT8; refuse when it loses more accuracy than you bear.

    What loses most of its signal is kept in float, more of it from try to try, until the loss is within the budget.
    """
    from agent.vision.dataset import load_dataset

    if out.suffix != model.suffix:
        message = f"expected a name that ends in {model.suffix}, as {model} does, found {out}"
        raise typer.BadParameter(message, param_hint="--out")
    if ranges is Ranges.DYNAMIC and model.suffix != LITERT:
        raise typer.BadParameter(f"expected static for {model}", param_hint="--ranges")
    if reduce_range and model.suffix == LITERT:
        raise typer.BadParameter(
            f"expected an .onnx file, found {model}", param_hint="--reduce-range"
        )
    if method is not CalibrationMethod.MINMAX and model.suffix == LITERT:
        raise typer.BadParameter(f"expected minmax for {model}", param_hint="--method")

    truth = load_dataset(dataset, images)
    load = partial(_detector, family=family, names=read_labels(labels) if labels else None)
    inputs = calibration_inputs(load(model), calibrate, pictures)
    plan = Quantisation(ranges=ranges, reduce_range=reduce_range)
    with quantiser_of(model, inputs, method, plan) as quantiser:
        found = quantise_within(quantiser, model, load, truth, max_drop)
    told = _told(found.tries)
    Console(stderr=as_json).print(_table(told))
    require_within(found, model)
    write_file(out, found.file)
    tell({"file": str(out), "tries": told}, f"{out}: written", as_json=as_json)


def quantiser_of(
    model: Path,
    inputs: Sequence[NDArray[np.float32]],
    method: CalibrationMethod,
    plan: Quantisation,
) -> Quantiser | LiteRtQuantiser:
    """Return what makes INT8 of a float file.

    Args:
        model: An .onnx or .tflite file.
        inputs: What its input tensor holds for each calibration picture.
        method: How an activation's range is found; minmax for LiteRT.
        plan: Dynamic ranges are for LiteRT only, reduced ones for ONNX.

    Raises:
        ConfigError: LiteRT's quantiser is not installed.
        PackageError: The file cannot be quantised.
    """
    if model.suffix != LITERT:
        from agent.release.quantise import Quantiser

        return Quantiser(model, inputs, method.value, reduce_range=plan.reduce_range)
    try:
        from agent.release.quantise_litert import LiteRtQuantiser
    except ImportError as error:
        raise ConfigError(
            f"INT8 of a LiteRT file needs litert-quantizer: {error}",
            code="quantise.missing",
            hint="pip install litert-quantizer, or the extra `release` (docs/releases.md)",
        ) from error
    return LiteRtQuantiser(model, inputs, plan.ranges)


def quantise_within(
    quantiser: Quantiser | LiteRtQuantiser,
    model: Path,
    load: Callable[[Path], Detector],
    truth: Dataset,
    max_drop: float,
) -> Tried:
    """Quantise, with more and more kept in float until the loss is within `max_drop` or there are no more tries.

    Args:
        quantiser: Of the model.
        model: The float .onnx or .tflite file.
        load: Loads it, or what is made of it.
        truth: The validation set.
        max_drop: Loss of mAP50-95 to bear.

    Raises:
        ModelError: The float model or a try does not run.
        PackageError: It cannot be quantised.
    """
    from agent.vision.evaluation import compare

    before = measure(load(model), truth, model.name)
    tries: list[tuple[str, int, EvalReport]] = [("float", model.stat().st_size, before)]
    for name, file in quantiser.tries():
        tried = _measure_bytes(file, model.suffix, load, truth)
        tries.append((name, len(file), tried))
        verdict = compare(tried, before, max_drop)
        if verdict.passed:
            break
    return Tried(file, tries, verdict)


def plain_int8(detector: Detector, model: Path, source: Path) -> bytes:
    """Return INT8 of a float file with nothing kept in float, calibrated on a folder or video.

    Raises:
        CameraError: The source holds no picture, or one that cannot be decoded.
        PackageError: It cannot be quantised.
    """
    inputs = calibration_inputs(detector, source, CALIBRATION_PICTURES)
    with quantiser_of(model, inputs, CalibrationMethod.MINMAX, Quantisation()) as quantiser:
        return next(quantiser.tries())[1]


def require_within(found: Tried, model: Path) -> None:
    """Refuse what lost too much.

    Raises:
        PackageError: `package.accuracy`, naming the classes that lost most.
    """
    verdict = found.verdict
    if verdict.passed:
        return
    worst = ", ".join(f"{one.label} {one.drop:.3f}" for one in verdict.classes[:_WORST_CLASSES])
    raise PackageError(
        f"{model}: INT8 loses {verdict.drop:.4f} of mAP50-95, {verdict.max_drop:.4f} may be lost; most: {worst}",
        code="package.accuracy",
        hint="calibrate on pictures like those your cameras take, try --method percentile, or train the checkpoint for it (`vigil release qat`)",
    )


def calibration_inputs(detector: Detector, source: Path, wanted: int) -> list[NDArray[np.float32]]:
    """Return what the network is given for pictures spread over a folder or video, by the device's own preprocessing.

    Raises:
        CameraError: The source holds no picture, or one that cannot be decoded.
    """
    return list(_inputs(detector, source, wanted))


def _detector(model: Path, family: Family | None, names: Sequence[str] | None) -> Detector:
    from agent.vision.detector import load_detector

    return load_detector(model, family=family.value if family else None, labels=names)


def _measure_bytes(
    file: bytes, suffix: str, load: Callable[[Path], Detector], truth: Dataset
) -> EvalReport:
    with tempfile.TemporaryDirectory(prefix="vigil-quantise-") as folder:
        path = Path(folder) / f"int8{suffix}"
        path.write_bytes(file)
        return measure(load(path), truth, path.name)


def _inputs(detector: Detector, source: Path, wanted: int) -> Iterator[NDArray[np.float32]]:
    from agent.vision.gallery import open_source

    total, pictures = open_source(source)
    every = max(1, total // wanted)
    for picture in itertools.islice(pictures, 0, every * wanted, every):
        detector.letterbox.fill(picture.image)
        yield detector.backend.buffer.copy()


def _told(tries: list[tuple[str, int, EvalReport]]) -> list[dict[str, Any]]:
    before = tries[0][2].map50_95
    return [
        {
            "step": name,
            "size_bytes": size,
            "map50_95": round(report.map50_95, 4),
            "map50": round(report.map50, 4),
            "drop": round(before - report.map50_95, 4),
            "infer_ms": round(report.stages_ms["infer"].p50, 2),
        }
        for name, size, report in tries
    ]


def _table(told: list[dict[str, Any]]) -> Table:
    table = Table("", "size, KB", "mAP50-95", "mAP50", "lost", "infer p50, ms")
    for one in told:
        figures = [f"{one[name]:.4f}" for name in ("map50_95", "map50", "drop")]
        size_kb = str(round(one["size_bytes"] / 1e3))
        table.add_row(one["step"], size_kb, *figures, f"{one['infer_ms']:.1f}")
    return table
