"""`vigil release prune | distil | qat`: smaller networks from a checkpoint, with what each step gained and lost."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from agent.cli.figures import StepFigures, VariantFigures, figures, show_figures
from agent.cli.gate import measure
from agent.cli.output import writable, write_file
from agent.cli.quantise import plain_int8
from agent.release.optimise.settings import (
    STRIDE,
    Awareness,
    Distillation,
    Pruning,
    Training,
)

if TYPE_CHECKING:
    from agent.vision.evaluation import EvalReport


def _whole(size: int) -> int:
    if size % STRIDE:
        raise typer.BadParameter(f"expected a multiple of {STRIDE}, found {size}")
    return size


Checkpoint = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A .pt file.")]
Out = Annotated[
    Path,
    typer.Option("--out", dir_okay=False, callback=writable, help="Checkpoint to write."),
]
Size = Annotated[
    int,
    typer.Option(min=STRIDE, callback=_whole, help="Side of the input, pixels."),
]
Data = Annotated[Path, typer.Option(exists=True, help="Training set (YAML of ultralytics).")]
Batch = Annotated[int, typer.Option(min=1, help="Pictures a step.")]
Rate = Annotated[float, typer.Option(min=1e-6, max=1.0, help="Learning rate at the start.")]
Device = Annotated[str, typer.Option(help="Where to train: cpu or cuda:0.")]
Weight = Annotated[float, typer.Option(min=0.0, help="Weight of this term of the loss.")]
TruthFile = Annotated[
    Path | None,
    typer.Option("--dataset", exists=True, help="Labels (COCO) to measure before and after on."),
]
TruthImages = Annotated[
    Path | None, typer.Option("--images", exists=True, help="Folder or video of its pictures.")
]
JsonFile = Annotated[
    Path | None,
    typer.Option(
        "--json", dir_okay=False, callback=writable, help="Write the figures to this file."
    ),
]


def prune(  # noqa: PLR0913, PLR0917 - one parameter for each option of the command line
    checkpoint: Checkpoint,
    out: Out,
    ratio: Annotated[float, typer.Option(help="Share of channels to take, above 0 and below 1.")],
    size: Size,
    data: Annotated[Path | None, typer.Option(exists=True, help="Training set (YAML).")] = None,
    epochs: Annotated[int, typer.Option(min=0, help="Epochs of training after it.")] = 10,
    batch: Batch = 16,
    rate: Rate = 0.001,
    device: Device = "cpu",
    dataset: TruthFile = None,
    images: TruthImages = None,
    json_file: JsonFile = None,
) -> None:
    """Take channels out of a detector and train what is left; its tensors really get smaller."""
    from agent.release.optimise.steps import pruned

    if not 0.0 < ratio < 1.0:
        message = f"expected above 0 and below 1, found {ratio}"
        raise typer.BadParameter(message, param_hint="--ratio")
    if epochs and data is None:
        message = "expected a training set, or --epochs 0 to cut only"
        raise typer.BadParameter(message, param_hint="--data")
    course = _Course(size, dataset, images, json_file)
    training = _training(data, batch, rate, device) if epochs and data else None
    course.measure("source", checkpoint)
    plan = Pruning(ratio=ratio, epochs=epochs)
    write_file(out, pruned(checkpoint, plan, training, Path(), size))
    course.finish("pruned", out)


def distil(  # noqa: PLR0913, PLR0917 - one parameter for each option of the command line
    checkpoint: Checkpoint,
    out: Out,
    teacher: Annotated[
        Path, typer.Option(exists=True, dir_okay=False, help="The checkpoint to learn from.")
    ],
    size: Size,
    data: Data,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of training.")] = 10,
    classes: Weight = 1.0,
    boxes: Weight = 1.0,
    features: Weight = 1.0,
    control: Annotated[
        bool,
        typer.Option(
            "--control",
            help="Train the student alone first, equally long, and show what that gives.",
        ),
    ] = False,
    batch: Batch = 16,
    rate: Rate = 0.001,
    device: Device = "cpu",
    dataset: TruthFile = None,
    images: TruthImages = None,
    json_file: JsonFile = None,
) -> None:
    """Train a detector beside a teacher: class scores, box distributions and feature maps of both are compared."""
    from agent.release.optimise.steps import distilled, trained

    if not classes + boxes + features:
        raise typer.BadParameter("expected one above 0, found none", param_hint="--classes")
    course = _Course(size, dataset, images, json_file, control=control)
    training = _training(data, batch, rate, device)
    course.measure("teacher", teacher)
    course.measure("student", checkpoint)
    if control:
        with tempfile.TemporaryDirectory(prefix="vigil-control-") as folder:
            alone = Path(folder) / out.name
            alone.write_bytes(trained(checkpoint, training, epochs, Path(), size))
            course.measure("alone", alone)
    plan = Distillation(epochs=epochs, classes=classes, boxes=boxes, features=features)
    write_file(out, distilled(checkpoint, teacher, plan, training, Path(), size))
    course.finish("distilled", out)


def qat(  # noqa: PLR0913, PLR0917 - one parameter for each option of the command line
    checkpoint: Checkpoint,
    out: Out,
    size: Size,
    data: Data,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of training.")] = 10,
    batch: Batch = 16,
    rate: Rate = 0.001,
    device: Device = "cpu",
    calibrate: Annotated[
        Path | None,
        typer.Option(exists=True, help="Pictures, to measure INT8 of both on as well."),
    ] = None,
    dataset: TruthFile = None,
    images: TruthImages = None,
    json_file: JsonFile = None,
) -> None:
    """Train a detector with quantisation in mind (QAT): its weights stay float, and lose less as INT8."""
    from agent.release.optimise.steps import aware

    course = _Course(size, dataset, images, json_file, calibrate)
    training = _training(data, batch, rate, device)
    course.measure("source", checkpoint)
    write_file(out, aware(checkpoint, Awareness(epochs=epochs), training, Path(), size))
    course.finish("aware", out)


def _training(data: Path, batch: int, rate: float, device: str) -> Training:
    from agent.release.optimise.network import require_device

    require_device(device)
    return Training(data=str(data.resolve()), batch=batch, rate=rate, device=device)


class _Course:
    """What checkpoints of a step see and cost, measured before the long work where they are there: faults show at once.

    Args:
        size: Side of the input, pixels.
        dataset: Labels, with `images`; nothing is measured without both.
        images: Folder or video.
        json_file: Where the figures are written.
        calibrate: Pictures; INT8 of each checkpoint is measured, too.
        control: A control is measured, too.

    Raises:
        ConfigError: The set is no set.
    """

    def __init__(
        self,
        size: int,
        dataset: Path | None,
        images: Path | None,
        json_file: Path | None,
        calibrate: Path | None = None,
        *,
        control: bool = False,
    ) -> None:
        from agent.vision.dataset import load_dataset

        if (dataset is None) != (images is None):
            raise typer.BadParameter("expected both or none", param_hint="--dataset, --images")
        asked = {"--json": json_file, "--calibrate": calibrate, "--control": control}
        if dataset is None and any(asked.values()):
            message = "expected --dataset and --images beside it, to measure on"
            hint = next(option for option, value in asked.items() if value)
            raise typer.BadParameter(message, param_hint=hint)
        self._truth = load_dataset(dataset, images) if dataset and images else None
        self._size = size
        self._json_file = json_file
        self._calibrate = calibrate
        self._steps: list[StepFigures] = []
        self._first: EvalReport | None = None

    def measure(self, step: str, checkpoint: Path) -> None:
        """Measure what a checkpoint is exported to, and its INT8 where there is something to calibrate on.

        Raises:
            CameraError: There are no pictures to calibrate on.
            ConfigError: Its classes are not the set's.
            PackageError: It cannot be exported or quantised.
        """
        from agent.release.export import export_checkpoint
        from agent.schema.values import BackendName, Precision
        from agent.vision.detector import load_detector

        if self._truth is None:
            return
        with tempfile.TemporaryDirectory(prefix="vigil-steps-") as folder:
            file = Path(folder) / f"{step}.onnx"
            file.write_bytes(
                export_checkpoint(checkpoint, BackendName.ONNXRUNTIME, Precision.FP32, self._size)
            )
            files = [(step, file)]
            if self._calibrate is not None:
                int8 = file.with_name(f"{step}-int8.onnx")
                int8.write_bytes(plain_int8(load_detector(file), file, self._calibrate))
                files.append((f"{step}, int8", int8))
            for name, one in files:
                report = measure(load_detector(one), self._truth, name)
                self._first = self._first or report
                self._steps.append(figures(name, one, report, self._first))

    def finish(self, step: str, out: Path) -> None:
        """Measure what was made, and show all; raises as `measure`."""
        self.measure(step, out)
        if self._first is not None:
            shown = VariantFigures(variant=out.stem, steps=self._steps)
            show_figures([shown], self._json_file)
        Console(highlight=False).print(f"{out}: written, {step}")
