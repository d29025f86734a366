"""Ultralytics OBB heads: rotated boxes, and what it means that two of them overlap.

The extra of a candidate is its angle in radians, in [-pi/4, 3 pi/4); its box is the unturned one
(ultralytics/nn/modules/head.py, OBB).

Overlap is ProbIoU: boxes as Gaussians, 1 - Hellinger distance (Murrugarra-Llerena et al., "Gaussian Bounding
Boxes and Probabilistic Intersection-over-Union", arXiv 2106.06072). A box is dropped when any better one
of its class overlaps it more than the limit, even one that is dropped itself (Fast NMS, Bolya et al.,
arXiv 1904.02689); Ultralytics suppresses rotated boxes this way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from agent.vision.details import Rotated
from agent.vision.families import MAX_BOXES, Boxes
from agent.vision.families.candidates import MAX_CANDIDATES, expect_outputs, require_finite
from agent.vision.families.rows import AnchorRows, FinalRows, Rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.vision.families import Float32, Head, Int32

_EPSILON = 1e-7
# Candidates compared with all better ones at a time; bounds memory.
_BLOCK = 256
Float64 = NDArray[np.float64]


class Obb:
    """See the module; `Boxes.xyxy` is the upright box round each rotated one."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def decode(self, outputs: Sequence[Float32], confidence: float, iou: float) -> Boxes:
        """See `agent.vision.families.Decoder`; `iou` is a ProbIoU."""
        expect_outputs(outputs, 1, "(1, 5 + classes, anchors)")
        found = self._rows.read(outputs[0], 1, confidence)
        xywhr = np.concatenate([found.places, found.extras], axis=1)
        kept = rotated_survivors(xywhr, found.scores, found.labels, iou)
        rotated = Rotated(xywhr[kept])
        return Boxes(rotated.bounds(), found.scores[kept], found.labels[kept], rotated)


def anchors(head: Head) -> Obb:
    """Return the decoder of v8 and 11."""
    return Obb(AnchorRows(head))


def end_to_end(head: Head) -> Obb:
    """Return the decoder of 26."""
    return Obb(FinalRows(head))


def rotated_survivors(
    xywhr: Float32, scores: Float32, labels: Int32, iou: float
) -> NDArray[np.intp]:
    """Return the indices of the boxes that class-wise suppression leaves, best first, at most `MAX_BOXES`.

    Args:
        xywhr: Shape (N, 5).
        scores: Shape (N,).
        labels: Shape (N,).
        iou: Greatest ProbIoU of two objects of one class.

    Raises:
        ModelError: `model.not_finite`.
    """
    require_finite(xywhr)
    order = np.argsort(-scores, kind="stable")[:MAX_CANDIDATES]
    kept = np.zeros(len(order), bool)
    for label in np.unique(labels[order]):
        places = np.flatnonzero(labels[order] == label)
        kept[places] = _unrivalled(xywhr[order[places]].astype(np.float64), iou)
    return order[kept][:MAX_BOXES]


def _unrivalled(xywhr: Float64, iou: float) -> NDArray[np.bool_]:
    """Return which boxes, best first, no better one overlaps too much, shape (N,)."""
    kept = np.ones(len(xywhr), bool)
    for start in range(0, len(xywhr), _BLOCK):
        block = slice(start, start + _BLOCK)
        rivals = probiou(xywhr[: block.stop], xywhr[block]) > iou
        better = np.arange(len(rivals))[:, None] < start + np.arange(rivals.shape[1])
        kept[block] = ~(rivals & better).any(axis=0)
    return kept


def probiou(left: Float64, right: Float64) -> Float64:
    """Return the ProbIoU of each box of `left` with each of `right`, (N, 5) and (M, 5), shape (N, M)."""
    x_1, y_1, a_1, b_1, c_1 = (values[:, None] for values in _gaussians(left))
    x_2, y_2, a_2, b_2, c_2 = _gaussians(right)
    a, b, c = a_1 + a_2, b_1 + b_2, c_1 + c_2
    with np.errstate(over="ignore", invalid="ignore"):
        spread = a * b - c**2
        apart = (a * (y_1 - y_2) ** 2 + b * (x_1 - x_2) ** 2) / 4
        skew = c * (x_2 - x_1) * (y_1 - y_2) / 2
        own = np.maximum(a_1 * b_1 - c_1**2, 0) * np.maximum(a_2 * b_2 - c_2**2, 0)
        unlike = np.log(spread / (4 * np.sqrt(own) + _EPSILON) + _EPSILON) / 2
        distance = np.clip((apart + skew) / (spread + _EPSILON) + unlike, _EPSILON, 100.0)
    similar: Float64 = 1 - np.sqrt(1 - np.exp(-distance) + _EPSILON)
    return similar


def _gaussians(xywhr: Float64) -> tuple[Float64, Float64, Float64, Float64, Float64]:
    """Return centre x, y and covariance [[a, c], [c, b]] of each box, all of shape (N,)."""
    x, y, width, height, angle = xywhr.T
    along, across = width**2 / 12, height**2 / 12
    cos, sin = np.cos(angle), np.sin(angle)
    a = along * cos**2 + across * sin**2
    b = along * sin**2 + across * cos**2
    return x, y, a, b, (along - across) * cos * sin
