"""What every decoder does with its candidates: refuse nonsense, suppress overlaps, keep the best."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from agent.errors import ModelError
from agent.vision.families import MAX_BOXES, Boxes, Float32, Int32

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# Below this confidence (evaluation runs at 0.001) many candidates are normal.
_FLOOD_CONFIDENCE = 0.05
_MANY_ANCHORS = 1000
_MANY_ROWS = 100
MAX_CANDIDATES = 3000


def expect_outputs(outputs: Sequence[Float32], count: int, what: str) -> None:
    """Refuse a network with fewer outputs than its family has."""
    if len(outputs) < count:
        raise wrong_shape(what, f"{len(outputs)} outputs")


def wrong_shape(expected: str, found: object) -> ModelError:
    """Return the error for outputs that do not have the family's shape."""
    return ModelError(
        f"expected output {expected}, found {found}",
        code="model.shape",
        hint="the variant's family or input size is not this model's",
    )


def wrong_classes(expected: int, found: int) -> ModelError:
    """Return the error for a network that was made for another number of classes."""
    return ModelError(
        f"expected {expected} classes (as many as labels), found {found} in the output",
        code="model.classes",
        hint="give the labels this model was trained with",
    )


def above(scores: Float32, confidence: float) -> NDArray[np.intp]:
    """Return the indices of scores of at least `confidence`, refusing NaN and a flood.

    Raises:
        ModelError: `model.not_finite`, or `model.flood` when most anchors claim to be objects.
    """
    require_finite(scores)
    indices = np.flatnonzero(scores >= confidence)
    if confidence >= _FLOOD_CONFIDENCE and len(indices) > _bearable(len(scores)):
        raise ModelError(
            f"{len(indices)} of {len(scores)} anchors claim an object", code="model.flood"
        )
    return indices


def _bearable(anchors: int) -> int:
    """Return how many of so many anchors may be objects: half of a grid, all but one row of a final list."""
    if anchors >= _MANY_ANCHORS:
        return anchors // 2
    return anchors - 1 if anchors >= _MANY_ROWS else anchors


def require_finite(values: Float32) -> None:
    """Refuse NaN and infinity.

    Raises:
        ModelError: `model.not_finite`.
    """
    if not np.isfinite(values).all():
        raise ModelError("the model's output is not finite", code="model.not_finite")


def suppress(xyxy: Float32, scores: Float32, labels: Int32, iou: float) -> Boxes:
    """Return the boxes that are left after class-wise non-maximum suppression, best first.

    Args:
        xyxy: Shape (N, 4).
        scores: Shape (N,).
        labels: Shape (N,); boxes of different classes never suppress each other.
        iou: Two boxes of one class that overlap more than this are one object.

    Raises:
        ModelError: `model.not_finite` for a candidate with such a corner.
    """
    kept = survivors(xyxy, scores, labels, iou)
    return Boxes(xyxy[kept], scores[kept], labels[kept])


def survivors(xyxy: Float32, scores: Float32, labels: Int32, iou: float) -> NDArray[np.intp]:
    """Return the indices of the boxes that `suppress` leaves, best first, at most `MAX_BOXES`.

    Raises:
        ModelError: `model.not_finite` for a candidate with such a corner.
    """
    require_finite(xyxy)
    if not len(scores):
        return np.empty(0, np.intp)
    likely = np.arange(len(scores))
    if len(scores) > MAX_CANDIDATES:
        likely = np.argpartition(-scores, MAX_CANDIDATES)[:MAX_CANDIDATES]
    boxes = xyxy[likely]
    sides = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    # The stubs ask for lists; arrays are what is fast.
    chosen = cv2.dnn.NMSBoxesBatched(sides, scores[likely], labels[likely], 0.0, iou)  # type: ignore[arg-type]
    kept = likely[np.asarray(chosen, np.intp)]
    return kept[np.argsort(-scores[kept], kind="stable")[:MAX_BOXES]]


def best_first(xyxy: Float32, scores: Float32, labels: Int32) -> Boxes:
    """Return at most `MAX_BOXES` boxes in falling order of their scores."""
    order = np.argsort(-scores, kind="stable")[:MAX_BOXES]
    return Boxes(xyxy[order], scores[order], labels[order])


def corners(xywh: Float32) -> Float32:
    """Return (x_min, y_min, x_max, y_max) of boxes given as centre and sides, shape (N, 4)."""
    half = xywh[:, 2:] / 2
    return np.concatenate([xywh[:, :2] - half, xywh[:, :2] + half], axis=1)
