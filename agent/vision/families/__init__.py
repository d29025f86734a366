"""Families: how a network's output tensors become boxes. Pure functions over numpy arrays.

A decoder receives float32 outputs and returns boxes in the pixels of the network's input; the letterbox
is undone elsewhere. Candidates below the threshold are dropped before anything is gathered.
A family that does more than find boxes has one decoder for each of its tasks, named `<family>-<task>`.

Third parties add a decoder by an entry point of the group `vigil.families`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from agent.errors import ConfigError, ModelError
from agent.host.plugins import load_plugin
from agent.vision.details import Details, check_parallel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FAMILIES: Mapping[str, str] = {
    "ultralytics": "agent.vision.families.ultralytics:anchors",
    "ultralytics-v5": "agent.vision.families.ultralytics:AnchorsWithObjectness",
    "ultralytics-e2e": "agent.vision.families.ultralytics:end_to_end",
    "yolox": "agent.vision.families.yolox:YoloX",
    "ssd-postprocess": "agent.vision.families.ssd:SsdPostprocess",
    "ultralytics-classify": "agent.vision.families.classify:Classify",
    "ultralytics-pose": "agent.vision.families.pose:anchors",
    "ultralytics-segment": "agent.vision.families.segment:anchors",
    "ultralytics-obb": "agent.vision.families.obb:anchors",
    "ultralytics-e2e-pose": "agent.vision.families.pose:end_to_end",
    "ultralytics-e2e-segment": "agent.vision.families.segment:end_to_end",
    "ultralytics-e2e-obb": "agent.vision.families.obb:end_to_end",
}
FAMILY_GROUP = "vigil.families"
DETECT = "detect"
MAX_BOXES = 300
Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]


@dataclass(frozen=True)
class Head:
    """What a decoder must know about the network.

    Attributes:
        classes: Number of classes.
        width: Width of the network's input, pixels.
        height: Height of the network's input, pixels.
        box_units: `pixels` of the input or `normalised` to [0, 1].
        layout: `nchw` or `nhwc`, as the input's.
        keypoints: Of a pose head: number of key points and values of each; None where nobody says.
        class_scores: Of a classifier: `probabilities` or `logits`.
    """

    classes: int
    width: int
    height: int
    box_units: str = "pixels"
    layout: str = "nchw"
    keypoints: tuple[int, int] | None = None
    class_scores: str = "probabilities"

    @property
    def unit_px(self) -> Float32:
        """Return how many pixels one unit of (x, y, x, y) is, shape (4,)."""
        sides = (self.width, self.height, self.width, self.height)
        return np.array(sides if self.box_units == "normalised" else (1, 1, 1, 1), np.float32)


@dataclass(frozen=True)
class Boxes:
    """Detected objects, best first.

    Attributes:
        xyxy: Corners (x_min, y_min, x_max, y_max), shape (N, 4), float32.
        scores: Shape (N,), float32, in [0, 1].
        labels: Class ids, shape (N,), int32.
        details: What the task adds to them; None for detection.
    """

    xyxy: Float32
    scores: Float32
    labels: Int32
    details: Details | None = None

    def __post_init__(self) -> None:
        check_parallel(self.xyxy, self.scores, self.labels, self.details)


class Decoder(Protocol):
    """Decodes one frame's outputs; made once per model with its `Head`."""

    def decode(self, outputs: Sequence[Float32], confidence: float, iou: float) -> Boxes:
        """Return the boxes with a score of at least `confidence`, in the input's pixels, at most `MAX_BOXES`.

        Raises:
            ModelError: `model.shape`, `model.classes`, `model.not_finite` or `model.flood`.
        """
        ...


def open_decoder(family: str, head: Head, task: str = DETECT) -> Decoder:
    """Return the decoder of a family's networks for `task`, for a network with this head.

    Raises:
        ModelError: `model.family` for an unknown name or box unit, `model.task` for a task that the family
            has no decoder for, `model.ambiguous` where the head lacks what the task needs.
    """
    if head.box_units not in {"pixels", "normalised"}:
        message = f"expected box units pixels or normalised, found {head.box_units!r}"
        raise ModelError(message, code="model.family")
    name = family if task == DETECT else f"{family}-{task}"
    try:
        factory: Any = load_plugin(FAMILIES, name, FAMILY_GROUP)
    except ConfigError as error:
        code = "model.family" if task == DETECT else "model.task"
        raise ModelError(error.message, code=code, hint=error.hint) from error
    return cast("Decoder", factory(head))
