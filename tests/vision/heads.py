"""Outputs of pose, segmentation, OBB and classification heads, written by hand."""

import numpy as np

from agent.vision.families import Boxes, Head, open_decoder

CLASSES = 3
SIDE = 64
POINTS = 2
MASKS = 4
ANCHORS = 20
Row = tuple[float, ...]


def head(layout: str = "nchw", **changes: object) -> Head:
    fields: dict[str, object] = {"keypoints": (POINTS, 3), "layout": layout}
    return Head(CLASSES, SIDE, SIDE, **(fields | changes))  # type: ignore[arg-type]


def decode(task: str, outputs: list[np.ndarray], family: str = "ultralytics") -> Boxes:
    return open_decoder(family, head(), task).decode(outputs, 0.25, 0.6)


def anchors(extras: int, *rows: Row) -> np.ndarray:
    """Rows of (cx, cy, w, h, label, score, extras …) as a v8 output."""
    output = np.zeros((1, 4 + CLASSES + extras, ANCHORS), np.float32)
    for place, (cx, cy, w, h, label, score, *more) in enumerate(rows):
        output[0, :4, place] = cx, cy, w, h
        output[0, 4 + int(label), place] = score
        output[0, 4 + CLASSES :, place] = more
    return output


def final(extras: int, *rows: Row, centred: bool = False) -> np.ndarray:
    """The same as an end-to-end output; `centred` where places stay centre and sides."""
    output = np.zeros((1, ANCHORS, 6 + extras), np.float32)
    for place, (cx, cy, w, h, label, score, *more) in enumerate(rows):
        corners = cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2
        output[0, place] = *((cx, cy, w, h) if centred else corners), score, label, *more
    return output


def prototypes() -> np.ndarray:
    """Everywhere, left half, upper half, nowhere: +1 inside and -1 outside, shape (1, 4, 16, 16)."""
    planes = np.full((1, MASKS, 16, 16), -1.0, np.float32)
    planes[0, 0] = 1
    planes[0, 1, :, :8] = 1
    planes[0, 2, :8] = 1
    return planes


PERSON: Row = (20, 20, 10, 6, 1, 0.5, 18, 19, 0.9, 22, 23, 0.4)
OTHER: Row = (44, 44, 8, 8, 2, 0.9, 41, 42, 0.7, 46, 47, 0.2)
