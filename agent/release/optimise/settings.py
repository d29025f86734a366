"""What a recipe says of pruning, distillation and quantisation."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import msgspec

from agent.schema.values import Counter, Fraction, Positive, PositiveFloat, Struct

STRIDE = 32  # pixels; the deepest feature map of YOLOv8 and YOLO11 has so many to a cell
Side = Annotated[int, msgspec.Meta(gt=0, multiple_of=STRIDE)]
Ratio = Annotated[float, msgspec.Meta(gt=0.0, lt=1.0)]


class Training(Struct):
    """How a network is trained on.

    Attributes:
        data: Data set in ultralytics' form (YAML), with the same classes as the network's.
        batch: Pictures a step.
        rate: Learning rate at the start; it falls to a hundredth along a cosine.
        device: As torch names it, cpu or cuda:0; one only.
    """

    data: str
    batch: Positive = 16
    rate: PositiveFloat = 0.001
    device: str = "cpu"
    seed: Counter = 0


class Pruning(Struct):
    """Structured pruning: the share of channels to take, and the epochs of training that follow.

    Without epochs the network is only cut; distilling may train it.
    """

    ratio: Ratio
    epochs: Counter = 10


class Distillation(Struct):
    """Training beside a teacher.

    Attributes:
        teacher: A checkpoint; the variant's own source unless given.
        classes: Weight of the loss on class scores.
        boxes: Weight of the loss on the distributions of box sides.
        features: Weight of the loss on the feature maps that the detection head is given.
    """

    teacher: str = ""
    epochs: Positive = 10
    classes: Annotated[float, msgspec.Meta(ge=0.0)] = 1.0
    boxes: Annotated[float, msgspec.Meta(ge=0.0)] = 1.0
    features: Annotated[float, msgspec.Meta(ge=0.0)] = 1.0


class Awareness(Struct):
    """Training with quantisation in mind, of what loses too much as INT8.

    Attributes:
        rate: Learning rate at the start; the training's unless given.
        if_drop_over: It is done where INT8 without it, no layer kept in float, loses more of mAP50-95 than this; what the variant
            may lose unless given.
    """

    epochs: Positive = 10
    rate: PositiveFloat | None = None
    if_drop_over: Fraction | None = None

    def is_due(self, drop: float, max_drop: float) -> bool:
        """Return whether INT8 that lost `drop` of mAP50-95 without it, of which `max_drop` may be lost, asks for it."""
        return drop > (max_drop if self.if_drop_over is None else self.if_drop_over)


class Ranges(str, Enum):
    """Where the ranges of activations come from: calibration pictures, or (LiteRT only) each picture itself."""

    STATIC = "static"
    DYNAMIC = "dynamic"


class Quantisation(Struct):
    """INT8: of a `.onnx` or float `.tflite` file, or of the one that a checkpoint is exported to.

    Attributes:
        aware: Train a checkpoint with quantisation in mind where it loses too much.
        reduce_range: Weights of seven bits (ONNX), for x86-64 without VNNI, whose 16-bit sums of products saturate with eight.
    """

    ranges: Ranges = Ranges.STATIC
    aware: Awareness | None = None
    reduce_range: bool = False
