"""Families: how a network's output tensors become boxes. Pure functions over numpy arrays.

A decoder receives float32 outputs and returns boxes in the pixels of the network's input; the letterbox
is undone elsewhere. Candidates below the threshold are dropped before anything is gathered.

Third parties add a family by an entry point of the group `vigil.families`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from agent.errors import ConfigError, ModelError
from agent.host.plugins import load_plugin

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FAMILIES: Mapping[str, str] = {
    "ultralytics": "agent.vision.families.ultralytics:Anchors",
    "ultralytics-v5": "agent.vision.families.ultralytics:AnchorsWithObjectness",
    "ultralytics-e2e": "agent.vision.families.ultralytics:EndToEnd",
    "yolox": "agent.vision.families.yolox:YoloX",
    "ssd-postprocess": "agent.vision.families.ssd:SsdPostprocess",
}
FAMILY_GROUP = "vigil.families"
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
    """

    classes: int
    width: int
    height: int
    box_units: str = "pixels"

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
    """

    xyxy: Float32
    scores: Float32
    labels: Int32


class Decoder(Protocol):
    """Decodes one frame's outputs; made once per model with its `Head`."""

    def decode(self, outputs: Sequence[Float32], confidence: float, iou: float) -> Boxes:
        """Return the boxes with a score of at least `confidence`, in the input's pixels, at most `MAX_BOXES`.

        Raises:
            ModelError: `model.shape`, `model.classes`, `model.not_finite` or `model.flood`.
        """
        ...


def open_decoder(name: str, head: Head) -> Decoder:
    """Return the decoder of the family `name` for a network with this head.

    Raises:
        ModelError: `model.family` for an unknown name or box unit.
    """
    if head.box_units not in {"pixels", "normalised"}:
        message = f"expected box units pixels or normalised, found {head.box_units!r}"
        raise ModelError(message, code="model.family")
    try:
        factory: Any = load_plugin(FAMILIES, name, FAMILY_GROUP)
    except ConfigError as error:
        raise ModelError(error.message, code="model.family", hint=error.hint) from error
    return cast("Decoder", factory(head))
