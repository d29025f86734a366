"""What every struct has in common, and the small values that several documents use."""

from __future__ import annotations

import enum
from typing import Annotated

import msgspec
from typing_extensions import dataclass_transform


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class Struct(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A value that crosses a boundary: immutable, unknown fields refused."""


# `$` alone would let a line break through at the end: names become paths and topics.
IDENTIFIER = r"^[a-z0-9][a-z0-9._-]{0,62}$(?!\n)"
Identifier = Annotated[str, msgspec.Meta(pattern=IDENTIFIER)]
Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$(?!\n)")]
Version = Annotated[
    str, msgspec.Meta(pattern=r"^[0-9]+(\.[0-9]+){0,3}([a-z0-9.+-]{0,20})$(?!\n)", max_length=64)
]
TargetPath = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*){1,7}$(?!\n)", max_length=255
    ),
]
Positive = Annotated[int, msgspec.Meta(gt=0, le=2**53)]
Counter = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
UnixMs = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
"""A time by its sender's clock, Unix milliseconds: more than a table can hold would stop who writes it down."""
ErrorCode = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9._-]{0,64}$(?!\n)")]
MAX_THREADS = 256  # of a runtime; a mistyped number would ask the system for millions
Fraction = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
PositiveFloat = Annotated[float, msgspec.Meta(gt=0.0, le=1e9)]


class BackendName(str, enum.Enum):
    """Inference runtimes a variant can be made for."""

    ONNXRUNTIME = "onnxruntime"
    LITERT = "litert"
    TENSORRT = "tensorrt"


class Precision(str, enum.Enum):
    """Arithmetic that a variant's weights and activations use."""

    FP32 = "fp32"
    FP16 = "fp16"
    DYNAMIC_INT8 = "dynamic-int8"
    INT8 = "int8"


class FamilyName(str, enum.Enum):
    """How a model's output tensors are decoded."""

    ULTRALYTICS = "ultralytics"
    ULTRALYTICS_V5 = "ultralytics-v5"
    ULTRALYTICS_E2E = "ultralytics-e2e"
    YOLOX = "yolox"
    SSD_POSTPROCESS = "ssd-postprocess"


class CalibrationMethod(str, enum.Enum):
    """How an activation's range is found: all of it, or all but its outliers (slower)."""

    MINMAX = "minmax"
    PERCENTILE = "percentile"


class TaskName(str, enum.Enum):
    """What a model finds: boxes, the class of the whole picture, boxes with more, or rotated boxes."""

    DETECT = "detect"
    CLASSIFY = "classify"
    POSE = "pose"
    SEGMENT = "segment"
    OBB = "obb"


class Box(Struct, array_like=True):
    """One detected object in the pixels of the camera's own frame.

    `label` is the class id; `score` in [0, 1]; corners as (x_min, y_min, x_max, y_max), y downwards.
    `track` is the stable object id, 0 while untracked.
    """

    label: int
    score: float
    x_min: float
    y_min: float
    x_max: float
    y_max: float
    track: int = 0


class Skeleton(Struct, tag="skeleton"):
    """Key points of one object: `(x, y, score)` in the frame's pixels, in the model's own order."""

    points: list[tuple[float, float, float]]


class Outline(Struct, tag="outline"):
    """The largest outline of one object's mask: corners `(x, y)` in the frame's pixels, simplified."""

    points: list[tuple[float, float]]


class RotatedBox(Struct, tag="rotated"):
    """A box turned about its centre: centre, sides and angle, in the frame's pixels and radians.

    The side `width` points along (cos, sin) of `angle_rad`; y points downwards, so angles grow clockwise.
    """

    x: float
    y: float
    width: float
    height: float
    angle_rad: float


Shape = Skeleton | Outline | RotatedBox


class Ranked(Struct, array_like=True):
    """One class that a whole picture may belong to: class id and probability."""

    label: int
    score: float
