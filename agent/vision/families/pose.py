"""Ultralytics pose heads: a box with key points.

Extras of a candidate are K * D values, `(x, y)` or `(x, y, score)` for each of K points, decoded to the
units of the boxes and with the sigmoid applied inside the graph (ultralytics/nn/modules/head.py, Pose).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.errors import ModelError
from agent.vision.details import Keypoints
from agent.vision.families import Boxes
from agent.vision.families.candidates import expect_outputs, survivors
from agent.vision.families.rows import AnchorRows, FinalRows, Rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.vision.families import Float32, Head

_WITH_SCORE = 3


class Pose:
    """See the module; raises `model.ambiguous` when nobody says how many key points there are."""

    def __init__(self, head: Head, rows: Rows) -> None:
        if head.keypoints is None:
            raise ModelError(
                "the model file does not say its key points",
                code="model.ambiguous",
                hint="state their number and the values of each: --keypoints 17x3",
            )
        self._points, self._values = head.keypoints
        self._unit_px = head.unit_px[:2]
        self._rows = rows

    def decode(self, outputs: Sequence[Float32], confidence: float, iou: float) -> Boxes:
        """See `agent.vision.families.Decoder`."""
        expect_outputs(outputs, 1, "(1, 4 + classes + key points, anchors)")
        found = self._rows.read(outputs[0], self._points * self._values, confidence)
        xyxy = self._rows.corners(found.places)
        kept = survivors(xyxy, found.scores, found.labels, iou)
        points = self._keypoints(found.extras[kept])
        return Boxes(xyxy[kept], found.scores[kept], found.labels[kept], points)

    def _keypoints(self, extras: Float32) -> Keypoints:
        values = extras.reshape(len(extras), self._points, self._values)
        scores = np.ones(values.shape[:2], np.float32)
        if self._values == _WITH_SCORE:
            scores = np.ascontiguousarray(values[..., 2])
        return Keypoints(values[..., :2] * self._unit_px, scores)


def anchors(head: Head) -> Pose:
    """Return the decoder of v8 and 11."""
    return Pose(head, AnchorRows(head))


def end_to_end(head: Head) -> Pose:
    """Return the decoder of 26."""
    return Pose(head, FinalRows(head))
