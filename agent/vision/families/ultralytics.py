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
)
from agent.vision.families.rows import AnchorRows, FinalRows, Rows, matrix

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.vision.families import Boxes, Float32, Head


class Detection:
    """Boxes and nothing else, in either layout of `agent.vision.families.rows`."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def decode(self, outputs: Sequence[Float32], confidence: float, iou: float) -> Boxes:
        """See `agent.vision.families.Decoder`."""
        expect_outputs(outputs, 1, "(1, _, _)")
        found = self._rows.read(outputs[0], 0, confidence)
        return suppress(self._rows.corners(found.places), found.scores, found.labels, iou)


def anchors(head: Head) -> Detection:
    """Return the decoder of v8 and 11."""
    return Detection(AnchorRows(head))


def end_to_end(head: Head) -> Detection:
    """Return the decoder of v10 and 26.

    The graph has suppressed already, but a quantised one may still name an object twice.
    """
    return Detection(FinalRows(head))


class AnchorsWithObjectness:
    """v5: `(1, anchors, 5 + classes)`; a score is objectness times the best class."""

    def __init__(self, head: Head) -> None:
        self._head = head

    def decode(self, outputs: Sequence[Float32], confidence: float, iou: float) -> Boxes:
        """See `agent.vision.families.Decoder`."""
        expected = "(1, anchors, 5 + classes)"
        expect_outputs(outputs, 1, expected)
        rows = matrix(outputs[0], expected)
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
