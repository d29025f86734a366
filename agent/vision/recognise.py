"""What kind of model a file holds: what the caller states, else what the file says, else an error.

Nothing is guessed: family and labels come from the embedded metadata, size and layout from the input
tensor, colour and scale from the family's own convention, and box units are measured.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from agent.errors import ModelError
from agent.schema.manifest import InputSpec
from agent.schema.values import TaskName
from agent.vision.card import ModelCard, read_card
from agent.vision.families import DETECT, Head

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent.vision.backends import Backend, TensorInfo

Float32 = NDArray[np.float32]

# First bytes: a FlatBuffer carries its identifier at offset 4; an ONNX file is a protobuf message that
# begins with field 1 (ir_version), written as 0x08.
_MAGICS: Mapping[str, tuple[int, bytes]] = {"litert": (4, b"TFL3"), "onnxruntime": (0, b"\x08")}
# Pixels as YOLOX was trained on them; all other families take RGB in [0, 1], centred.
_CONVENTIONS: Mapping[str, tuple[str, float, str]] = {"yolox": ("bgr", 1.0, "top-left")}
_DEFAULT_CONVENTION = ("rgb", 1.0 / 255.0, "center")
# Families whose boxes can be in either unit, and where their coordinates lie in the output.
_EITHER_UNIT: Mapping[str, str] = {
    "ultralytics": "rows",
    "ultralytics-v5": "columns",
    "ultralytics-e2e": "columns",
}
# Boxes of a normalised head stay near [0, 1] on any input; anchors in pixels span the whole input.
_NORMALISED_LIMIT = 4.0
_ROW_AXES = 3
ULTRALYTICS = "ultralytics"
CLASSIFY, POSE = TaskName.CLASSIFY.value, TaskName.POSE.value
TASKS = tuple(task.value for task in TaskName)


@dataclass(frozen=True)
class Stated:
    """What the caller says about a model; None where the file must say it."""

    family: str | None = None
    labels: Sequence[str] | None = None
    input: InputSpec | None = None
    box_units: str | None = None
    task: str | None = None
    keypoints: tuple[int, int] | None = None
    class_scores: str | None = None


@dataclass(frozen=True)
class Facts:
    """All that decoding needs to know about a model."""

    family: str
    labels: tuple[str, ...]
    input: InputSpec
    box_units: str
    task: str = DETECT
    keypoints: tuple[int, int] | None = None
    class_scores: str = "probabilities"


def model_path(model: Path | int) -> str:
    """Return a path that a runtime can open: the file's own, or the descriptor's in `/proc`.

    Raises:
        ModelError: `model.missing`.
    """
    path = f"/proc/self/fd/{model}" if isinstance(model, int) else os.fspath(model)
    if not Path(path).is_file():
        raise ModelError(f"{path}: no such model file", code="model.missing")
    return path


def backend_of(path: str) -> str:
    """Return the runtime that the file's first bytes call for.

    Raises:
        ModelError: `model.format`.
    """
    try:
        with Path(path).open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}", code="model.missing") from error
    for name, (offset, magic) in _MAGICS.items():
        if start[offset : offset + len(magic)] == magic:
            return name
    raise ModelError(
        f"{path}: neither an ONNX nor a LiteRT model",
        code="model.format",
        hint="export the model to .onnx or .tflite, or state the runtime with --backend",
    )


def recognise(runtime: Backend, outputs: Sequence[Float32], stated: Stated) -> Facts:
    """Return what is stated, completed from the model file and its first outputs.

    Raises:
        ModelError: `model.ambiguous` where something is neither stated nor written in the file, `model.task`
            where the file says that it is made for another task than the stated one.
    """
    task = _task_of(runtime, stated)
    told_all = stated.family and stated.labels and (stated.keypoints or task != POSE)
    card = None if told_all else read_card(runtime.metadata)
    family = stated.family or _family_of(card, task, runtime.outputs)
    labels = stated.labels or (card.labels if card else None)
    if not labels:
        raise _ambiguous("the class names", "--labels FILE with one name a line")
    return Facts(
        family,
        tuple(labels),
        stated.input or input_of(runtime.input, family, task),
        stated.box_units or _units_of(family, outputs),
        task,
        stated.keypoints or (card.keypoints if card else None),
        stated.class_scores or "probabilities",
    )


def head_of(facts: Facts) -> Head:
    """Return what a decoder must know of them."""
    return Head(
        len(facts.labels),
        facts.input.width,
        facts.input.height,
        facts.box_units,
        facts.input.layout,
        facts.keypoints,
        facts.class_scores,
    )


def input_of(tensor: TensorInfo, family: str, task: str = DETECT) -> InputSpec:
    """Return the input that a tensor's shape and a family's convention for a task describe.

    Raises:
        ModelError: `model.shape` when it is no picture of three colours.
    """
    match tensor.shape:
        case (_, 3, height, width):
            layout = "nchw"
        case (_, height, width, 3):
            layout = "nhwc"
        case shape:
            message = f"expected an input of three colours, found {shape}"
            raise ModelError(message, code="model.shape")
    colour, scale, letterbox = _CONVENTIONS.get(family, _DEFAULT_CONVENTION)
    return InputSpec(
        width=width,
        height=height,
        layout=layout,
        colour=colour,
        scale=scale,
        letterbox=letterbox,
        fit="crop" if task == CLASSIFY else "letterbox",
    )


def _task_of(runtime: Backend, stated: Stated) -> str:
    """Return the task that is stated, or embedded, or shows in the shapes of outputs that only detection has."""
    embedded = runtime.metadata.get("task") if "names" in runtime.metadata else None
    if embedded is not None and embedded not in TASKS:
        known = ", ".join(TASKS)
        message = f"expected a model for one of {known}, found one for {embedded[:60]!r}"
        raise ModelError(message, code="model.task")
    if stated.task and embedded and stated.task != embedded:
        raise ModelError(
            f"expected a model for {stated.task}, found {embedded} in its metadata",
            code="model.task",
            hint=f"state {embedded}, or take the right file",
        )
    if stated.task or embedded:
        return stated.task or embedded or DETECT
    if stated.family == ULTRALYTICS and stated.labels and not _is_detection(runtime, stated):
        raise _ambiguous("its task", "--task detect, classify, pose, segment or obb")
    return DETECT


def _is_detection(runtime: Backend, stated: Stated) -> bool:
    match [info.shape for info in runtime.outputs]:
        case [(_, rows, _)]:
            # Fewer rows than boxes and classes need are no other task either, but wrong labels.
            return rows <= 4 + len(stated.labels or ())
        case _:
            return False


def _family_of(card: ModelCard | None, task: str, outputs: Sequence[TensorInfo]) -> str:
    if card is None:
        raise _ambiguous("the family", "--family ultralytics, yolox, …")
    if card.end_to_end and task != CLASSIFY:
        return "ultralytics-e2e"
    if task != DETECT:
        return ULTRALYTICS
    classes = len(card.labels)
    match outputs[0].shape:
        case (_, rows, _) if rows == 4 + classes:
            return ULTRALYTICS
        case (_, _, columns) if columns == 5 + classes:
            return "ultralytics-v5"
        case (_, _, 6):
            return "ultralytics-e2e"
        case shape:
            message = f"output {shape} fits no Ultralytics head of {classes} classes"
            raise ModelError(message, code="model.ambiguous", hint="state it: --family")


def _units_of(family: str, outputs: Sequence[Float32]) -> str:
    order = _EITHER_UNIT.get(family)
    # Prototypes of masks may come before or behind the boxes.
    rows = [values[0] for values in outputs if values.ndim == _ROW_AXES and len(values) == 1]
    if order is None or not rows:
        return "pixels"
    boxes = rows[0][:4] if order == "rows" else rows[0][:, :4]
    return "normalised" if np.abs(boxes).max(initial=0.0) <= _NORMALISED_LIMIT else "pixels"


def _ambiguous(what: str, how: str) -> ModelError:
    return ModelError(
        f"the model file does not say {what}", code="model.ambiguous", hint=f"state it: {how}"
    )
