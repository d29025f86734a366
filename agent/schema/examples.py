"""Frames that are worth a label: what decides about them, and what is kept of one."""

from __future__ import annotations

import enum
from typing import Annotated

import msgspec

from agent.schema.values import (
    Box,
    Counter,
    Fraction,
    Identifier,
    Positive,
    PositiveFloat,
    Struct,
)

EXAMPLE_VERSION = 1
EXAMPLE_PURPOSE = "example"  # of the sealed box
# Base64 of 65 bytes that begin with 4: an uncompressed point.
FleetKey = Annotated[str, msgspec.Meta(pattern=r"^(B[A-Za-z0-9+/]{86}=)?$(?!\n)")]


class ExamplesConfig(Struct):
    """The operator's `examples` section; without a key nothing is kept.

    Attributes:
        key: The fleet's public key, as `vigil fleet examples-key` prints it.
        uncertain_below: An object that is reported with a lower score makes its frame uncertain.
        control_every: One frame in so many, drawn at random, is kept whatever it shows; 0 for none.
        gap_s: Least time between two frames of one camera that are kept for the same reason.
        max_width: Greatest width of a picture, pixels.
        daily_mb: What may be kept on one day, megabytes.
        keep_mb: What may lie on the device, megabytes; the oldest make room.
    """

    key: FleetKey = ""
    uncertain_below: Fraction = 0.4
    control_every: Counter = 10_000
    gap_s: PositiveFloat = 60.0
    max_width: Annotated[int, msgspec.Meta(ge=64, le=4096)] = 1280
    daily_mb: PositiveFloat = 20.0
    keep_mb: PositiveFloat = 200.0


class Reason(str, enum.Enum):
    """Why a frame is worth a label."""

    CONTROL = "control"
    DRIFT = "drift"
    UNCERTAIN = "uncertain"
    DISAGREEMENT = "disagreement"


class Example(Struct):
    """A picture with what the model said of it, as MessagePack; only ever stored sealed.

    Attributes:
        release: The release that looked at it; `labels` are its class names.
        boxes: In the pixels of the JPEG, which is `width` by `height`.
        cause: The likely cause of the drift, for that reason.
    """

    v: int
    device: Identifier
    camera: Identifier
    captured_ms: Counter
    reason: Reason
    release: str
    labels: list[str]
    width: Positive
    height: Positive
    boxes: list[Box]
    jpeg: bytes
    cause: str = ""
