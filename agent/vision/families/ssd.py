"""SSD with the TFLite_Detection_PostProcess operator: four outputs, suppressed inside the graph.

Boxes (1, N, 4) as normalised (y_min, x_min, y_max, x_max), classes (1, N), scores (1, N), count (1,)
(tensorflow.org, "Object detection", output signature of detect.tflite).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.vision.families.candidates import (
    above,
    best_first,
    expect_outputs,
    require_finite,
    wrong_classes,
    wrong_shape,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.vision.families import Boxes, Float32, Head

_EXPECTED = "(1, N, 4), (1, N), (1, N), (1,)"


class SsdPostprocess:
    """See the module; boxes are always normalised, class ids count from 0 without background."""

    def __init__(self, head: Head) -> None:
        self._classes = head.classes
        sides = (head.width, head.height, head.width, head.height)
        self._unit_px = np.array(sides, np.float32)

    def decode(self, outputs: Sequence[Float32], confidence: float, iou: float) -> Boxes:
        """See `agent.vision.families.Decoder`; `iou` has no effect."""
        del iou
        expect_outputs(outputs, 4, _EXPECTED)
        boxes, classes, scores, count = outputs[:4]
        rows = scores.shape[-1] if scores.ndim else 0
        shapes = [(1, rows, 4), (1, rows), (1, rows)]
        if [values.shape for values in outputs[:3]] != shapes or count.size != 1:
            raise wrong_shape(_EXPECTED, [values.shape for values in outputs[:4]])
        require_finite(count)
        valid = scores[0, : max(0, int(count.reshape(()).item()))]
        chosen = above(valid, confidence)
        xyxy = boxes[0][chosen][:, [1, 0, 3, 2]] * self._unit_px
        require_finite(xyxy)
        require_finite(classes[0][chosen])
        labels = classes[0][chosen].astype(np.int32)
        if len(labels) and not 0 <= labels.min() <= labels.max() < self._classes:
            raise wrong_classes(self._classes, int(labels.max()) + 1)
        return best_first(xyxy, valid[chosen], labels)
