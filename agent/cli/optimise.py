"""`vigil release prune | distil`: smaller networks from a checkpoint, with what each step gained and lost."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from agent.cli.gate import measure
from agent.cli.output import write_file, write_json
from agent.cli.steps import StepFigures, StepsDocument, figures, steps_table
from agent.release.optimise.settings import Distillation, Pruning, Training

if TYPE_CHECKING:
    from agent.vision.evaluation import EvalReport

Checkpoint = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A .pt file.")]
Out = Annotated[Path, typer.Option("--out", help="Checkpoint to write.")]
Size = Annotated[int, typer.Option(min=32, help="Side of the input, pixels.")]
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
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")]


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
    _require_both(dataset, images)
    training = _training(data, batch, rate, device) if data else None
    plan = Pruning(ratio=ratio, epochs=epochs)
    write_file(out, pruned(checkpoint, plan, training, Path(), size))
    _finish([("source", checkpoint), ("pruned", out)], size, dataset, images, json_file)


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
    batch: Batch = 16,
    rate: Rate = 0.001,
    device: Device = "cpu",
    dataset: TruthFile = None,
    images: TruthImages = None,
    json_file: JsonFile = None,
) -> None:
    """Train a detector beside a teacher: class scores, box distributions and feature maps of both are compared."""
    from agent.release.optimise.steps import distilled

    if not classes + boxes + features:
        raise typer.BadParameter("expected one above 0, found none", param_hint="--classes")
    _require_both(dataset, images)
    plan = Distillation(epochs=epochs, classes=classes, boxes=boxes, features=features)
    training = _training(data, batch, rate, device)
    write_file(out, distilled(checkpoint, teacher, plan, training, Path(), size))
    stages = [("teacher", teacher), ("student", checkpoint), ("distilled", out)]
    _finish(stages, size, dataset, images, json_file)


def show_steps(steps: Sequence[StepFigures], json_file: Path | None) -> None:
    """Print the table; write the figures, and beside them a plot where matplotlib is installed."""
    Console(stderr=True).print(steps_table(steps))
    if json_file is None:
        return
    write_json(StepsDocument(steps=list(steps)), json_file)
    if importlib.util.find_spec("matplotlib"):
        from agent.vision.plots import steps_plot

        for of in dict.fromkeys(one.of for one in steps):
            mine = [one for one in steps if one.of == of]
            costs: dict[str, Sequence[float]] = {
                "size": [one.size_bytes for one in mine],
                "parameters": [one.parameters for one in mine],
                "MACs": [one.macs for one in mine],
                "ms": [one.infer_ms for one in mine],
            }
            names, accuracy = [one.step for one in mine], [one.map50_95 for one in mine]
            plot = json_file.with_name(f"{json_file.stem}-{of}.png")
            write_file(plot, steps_plot(names, accuracy, costs))


def _training(data: Path, batch: int, rate: float, device: str) -> Training:
    return Training(data=str(data.resolve()), batch=batch, rate=rate, device=device)


def _require_both(dataset: Path | None, images: Path | None) -> None:
    if (dataset is None) != (images is None):
        raise typer.BadParameter("expected both or none", param_hint="--dataset, --images")


def _finish(
    stages: Sequence[tuple[str, Path]],
    size: int,
    dataset: Path | None,
    images: Path | None,
    json_file: Path | None,
) -> None:
    name, out = stages[-1]
    if dataset is not None and images is not None:
        show_steps(_measured(stages, size, dataset, images), json_file)
    Console(highlight=False).print(f"{out}: written, {name}")


def _measured(
    stages: Sequence[tuple[str, Path]], size: int, dataset: Path, images: Path
) -> list[StepFigures]:
    from agent.release.export import export_checkpoint
    from agent.schema.values import BackendName, Precision
    from agent.vision.dataset import load_dataset
    from agent.vision.detector import load_detector

    truth = load_dataset(dataset, images)
    found: list[StepFigures] = []
    first: EvalReport | None = None
    with tempfile.TemporaryDirectory(prefix="vigil-steps-") as folder:
        for step, checkpoint in stages:
            file = Path(folder) / f"{step}.onnx"
            exported = export_checkpoint(checkpoint, BackendName.ONNXRUNTIME, Precision.FP32, size)
            file.write_bytes(exported)
            report = measure(load_detector(file), truth, step)
            found.append(figures(stages[-1][1].stem, step, file, report, first))
            first = first or report
    return found
