"""What a recipe says of pruning and distillation."""

from __future__ import annotations

from typing import Annotated

import msgspec

from agent.schema.values import Counter, Positive, PositiveFloat, Struct

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
