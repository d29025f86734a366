"""Ultralytics detection heads as their exporters write them (github.com/ultralytics/ultralytics, v5 to 26)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.vision.families.candidates import (
    above,
    corners,
    expect_outputs,
    require_finite,
    suppress,
    wrong_classes,
    wrong_shape,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.vision.families import Boxes, Float32, Head

_FINAL_FIELDS = 6


class Anchors:
    """v8 and 11: `(1, 4 + classes, anchors)` with centre, sides and class scores."""

    def __init__(self, head: Head) -> None:
        self._head = head

    def decode(self, outputs: Sequence[Float32], confidence: float, iou: float) -> Boxes:
        """See `agent.vision.families.Decoder`."""
        rows = _matrix(outputs, "(1, 4 + classes, anchors)")
        if rows.shape[0] != 4 + self._head.classes:
            raise wrong_classes(self._head.classes, rows.shape[0] - 4)
        scores = rows[4:]
        best = scores.max(axis=0)
        chosen = above(best, confidence)
        labels = scores[:, chosen].argmax(axis=0).astype(np.int32)
        xyxy = corners(rows[:4, chosen].T) * self._head.unit_px
        return suppress(xyxy, best[chosen], labels, iou)


class AnchorsWithObjectness:
    """v5: `(1, anchors, 5 + classes)`; a score is objectness times the best class."""

    def __init__(self, head: Head) -> None:
        self._head = head

    def decode(self, outputs: Sequence[Float32], confidence: float, iou: float) -> Boxes:
        """See `agent.vision.families.Decoder`."""
        rows = _matrix(outputs, "(1, anchors, 5 + classes)")
        if rows.shape[1] != 5 + self._head.classes:
            raise wrong_classes(self._head.classes, rows.shape[1] - 5)
        candidates = rows[above(rows[:, 4], confidence)]
        classes = candidates[:, 5:]
        scores = candidates[:, 4] * classes.max(axis=1, initial=0.0)
        require_finite(scores)
        chosen = np.flatnonzero(scores >= confidence)
        labels = classes[chosen].argmax(axis=1).astype(np.int32)
        xyxy = corners(candidates[chosen, :4]) * self._head.unit_px
        return suppress(xyxy, scores[chosen], labels, iou)


class EndToEnd:
    """v10 and 26: `(1, boxes, 6)` with corners, score and class.

    The graph has suppressed already, but a quantised one may still name an object twice.
    """

    def __init__(self, head: Head) -> None:
        self._head = head

    def decode(self, outputs: Sequence[Float32], confidence: float, iou: float) -> Boxes:
        """See `agent.vision.families.Decoder`."""
        rows = _matrix(outputs, "(1, boxes, 6)")
        if rows.shape[1] != _FINAL_FIELDS:
            raise wrong_shape("(1, boxes, 6)", outputs[0].shape)
        chosen = rows[above(rows[:, 4], confidence)]
        require_finite(chosen)
        labels = chosen[:, 5].astype(np.int32)
        if len(labels) and not 0 <= labels.min() <= labels.max() < self._head.classes:
            raise wrong_classes(self._head.classes, int(labels.max()) + 1)
        return suppress(chosen[:, :4] * self._head.unit_px, chosen[:, 4], labels, iou)


def _matrix(outputs: Sequence[Float32], expected: str) -> Float32:
    expect_outputs(outputs, 1, expected)
    match outputs[0].shape:
        case (1, _, _):
            rows: Float32 = outputs[0][0]
            return rows
        case shape:
            raise wrong_shape(expected, shape)
