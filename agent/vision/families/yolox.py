"""YOLOX: `(1, anchors, 5 + classes)`, raw offsets on a grid of each stride.

Centre = (offset + cell) * stride, side = exp(raw) * stride, score = objectness * class; anchors run over the
strides 8, 16, 32, row by row (github.com/Megvii-BaseDetection/YOLOX, demo/ONNXRuntime).
"""

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

    from numpy.typing import NDArray

    from agent.vision.families import Boxes, Float32, Head

_STRIDES = (8, 16, 32)


class YoloX:
    """See the module; boxes are always in pixels of the input."""

    def __init__(self, head: Head) -> None:
        self._classes = head.classes
        self._cells, self._strides = _grid(head.width, head.height)

    def decode(self, outputs: Sequence[Float32], confidence: float, iou: float) -> Boxes:
        """See `agent.vision.families.Decoder`."""
        expected = f"(1, {len(self._cells)}, {5 + self._classes})"
        expect_outputs(outputs, 1, expected)
        if outputs[0].shape[:-1] != (1, len(self._cells)):
            raise wrong_shape(expected, outputs[0].shape)
        rows = outputs[0][0]
        if rows.shape[1] != 5 + self._classes:
            raise wrong_classes(self._classes, rows.shape[1] - 5)
        likely = above(rows[:, 4], confidence)
        classes = rows[likely, 5:]
        scores = rows[likely, 4] * classes.max(axis=1, initial=0.0)
        require_finite(scores)
        chosen = np.flatnonzero(scores >= confidence)
        labels = classes[chosen].argmax(axis=1).astype(np.int32)
        places = likely[chosen]
        xyxy = corners(self._place(rows[places, :4], places))
        return suppress(xyxy, scores[chosen], labels, iou)

    def _place(self, raw: Float32, places: NDArray[np.intp]) -> Float32:
        strides = self._strides[places, None]
        with np.errstate(over="ignore"):
            sides = np.exp(raw[:, 2:]) * strides
        centres = (raw[:, :2] + self._cells[places]) * strides
        return np.concatenate([centres, sides], axis=1)


def _grid(width: int, height: int) -> tuple[Float32, Float32]:
    """Return the cells' (x, y), shape (anchors, 2), and their strides, shape (anchors,)."""
    cells, strides = [], []
    for stride in _STRIDES:
        rows, columns = np.mgrid[: height // stride, : width // stride]
        cells.append(np.stack([columns.ravel(), rows.ravel()], axis=1))
        strides.append(np.full(rows.size, stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(strides).astype(np.float32)
