"""Ultralytics segmentation heads: a box with a mask made of prototypes.

Two outputs, in either order: rows whose extras are M coefficients, and M prototypes `(1, M, h, w)`, or
`(1, h, w, M)` in files of NHWC layout. A mask is the weighted sum of the prototypes, scaled up to the input
(bilinear) and positive inside the box (ultralytics/utils/ops.py, process_mask). It is computed for boxes
that are kept, inside them and nowhere else. Objects without a single pixel are dropped, as there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from agent.vision.details import Masks
from agent.vision.families import Boxes
from agent.vision.families.candidates import (
    require_finite,
    survivors,
    wrong_classes,
    wrong_shape,
)
from agent.vision.families.rows import AnchorRows, FinalRows, Rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from agent.vision.families import Float32, Head

_EXPECTED = "(1, rows, anchors) and prototypes (1, M, h, w)"
_ROW_AXES, _PICTURE_AXES = 3, 4
_OTHER = {"nchw": "nhwc", "nhwc": "nchw"}
_CHANNEL_AXIS = {"nchw": 1, "nhwc": 3}


class Segment:
    """See the module.

    Args:
        head: The network's input.
        rows: Layout of its candidates.
        fields_axis: Axis of the candidates' output along which one candidate's values lie.
        fields: Values of one candidate before its coefficients.
    """

    def __init__(self, head: Head, rows: Rows, fields_axis: int, fields: int) -> None:
        self._head = head
        self._rows = rows
        self._fields_axis = fields_axis
        self._fields = fields

    def decode(self, outputs: Sequence[Float32], confidence: float, iou: float) -> Boxes:
        """See `agent.vision.families.Decoder`."""
        output, prototypes = self._parts(outputs)
        found = self._rows.read(output, len(prototypes), confidence)
        xyxy = self._rows.corners(found.places)
        kept = survivors(xyxy, found.scores, found.labels, iou)
        windows, origins = [], []
        for box, coefficients in zip(xyxy[kept], found.extras[kept], strict=True):
            window, origin = self._mask(box, coefficients, prototypes)
            windows.append(window)
            origins.append(origin)
        seen = np.array([bool(window.any()) for window in windows], bool)
        masks = Masks(
            tuple(window for window in windows if window.any()),
            np.array(origins, np.float32).reshape(-1, 2)[seen],
            np.ones(2, np.float32),
        )
        kept = kept[seen]
        return Boxes(xyxy[kept], found.scores[kept], found.labels[kept], masks)

    def _parts(self, outputs: Sequence[Float32]) -> tuple[Float32, Float32]:
        """Return the candidates' output and the prototypes as (M, h, w)."""
        candidates = [values for values in outputs if values.ndim == _ROW_AXES]
        pictures = [
            values for values in outputs if values.ndim == _PICTURE_AXES and len(values) == 1
        ]
        if len(candidates) != 1 or len(pictures) != 1:
            raise wrong_shape(_EXPECTED, [values.shape for values in outputs])
        fields = candidates[0].shape[self._fields_axis]
        layout = self._layout(pictures[0].shape, fields - self._fields)
        planes = pictures[0][0] if layout == "nchw" else pictures[0][0].transpose(2, 0, 1)
        _, height, width = planes.shape
        if self._head.width % width or self._head.height % height:
            raise wrong_shape("prototypes of a whole fraction of the input", planes.shape)
        return candidates[0], planes

    def _layout(self, shape: tuple[int, ...], coefficients: int) -> str:
        """Return the layout in which there are as many prototypes as coefficients; the input's own first."""
        for layout in (self._head.layout, _OTHER[self._head.layout]):
            if shape[_CHANNEL_AXIS[layout]] == coefficients:
                return layout
        prototypes = shape[_CHANNEL_AXIS[self._head.layout]]
        classes = self._head.classes
        raise wrong_classes(classes, classes + coefficients - prototypes)

    def _mask(
        self, box: Float32, coefficients: Float32, prototypes: Float32
    ) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        """Return the mask inside a box, shape (h, w), uint8, and its upper left corner (x, y)."""
        _, rows, columns = prototypes.shape
        left, right = _pixels(box[0], box[2], self._head.width)
        top, bottom = _pixels(box[1], box[3], self._head.height)
        if left == right or top == bottom:
            return np.zeros((0, 0), np.uint8), (left, top)
        step_x, step_y = self._head.width // columns, self._head.height // rows
        cells_x, cells_y = _cells(left, right, step_x, columns), _cells(top, bottom, step_y, rows)
        sums = np.tensordot(coefficients, prototypes[:, cells_y, cells_x], 1)
        require_finite(sums)
        size = (sums.shape[1] * step_x, sums.shape[0] * step_y)
        scaled = cv2.resize(sums, size, interpolation=cv2.INTER_LINEAR)
        x_0, y_0 = cells_x.start * step_x, cells_y.start * step_y
        inside = scaled[top - y_0 : bottom - y_0, left - x_0 : right - x_0]
        return (inside > 0).astype(np.uint8), (left, top)


def anchors(head: Head) -> Segment:
    """Return the decoder of v8 and 11."""
    return Segment(head, AnchorRows(head), 1, 4 + head.classes)


def end_to_end(head: Head) -> Segment:
    """Return the decoder of 26."""
    return Segment(head, FinalRows(head), 2, 6)


def _pixels(start: np.float32, end: np.float32, limit: int) -> tuple[int, int]:
    """Return the pixels p of the input with start <= p < end, as a range."""
    first = int(np.ceil(np.clip(start, 0, limit)))
    return first, max(first, int(np.ceil(np.clip(end, 0, limit))))


def _cells(first: int, end: int, step: int, limit: int) -> slice:
    """Return the prototype cells that bilinear scaling reads for the pixels `first` to `end`."""
    low = (2 * first + 1 - step) // (2 * step)
    high = (2 * end - 1 - step) // (2 * step) + 1
    return slice(max(0, low), min(limit, high + 1))
