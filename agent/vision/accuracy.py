"""COCO mean average precision, computed by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from agent.schema.values import Box


@dataclass(frozen=True)
class Accuracy:
    """Mean average precision in [0, 1] over IoU 0.50 to 0.95, and at 0.50, and the number of images."""

    map50_95: float
    map50: float
    images: int


def coco_results(image_id: int, boxes: Iterable[Box]) -> list[dict[str, Any]]:
    """Return `boxes` of one image in COCO's result form, `bbox` as [x, y, width, height] in pixels."""
    return [
        {
            "image_id": image_id,
            "category_id": box.label,
            "bbox": [box.x_min, box.y_min, box.x_max - box.x_min, box.y_max - box.y_min],
            "score": box.score,
        }
        for box in boxes
    ]


def coco_accuracy(
    truth: dict[str, Any], results: Sequence[dict[str, Any]], image_ids: Sequence[int]
) -> Accuracy:
    """Score `results` against `truth` (a COCO dataset) on the images `image_ids`."""
    if not results:
        return Accuracy(0.0, 0.0, len(image_ids))
    with contextlib.redirect_stdout(io.StringIO()):
        expected = COCO()
        expected.dataset = truth
        expected.createIndex()
        scoring = COCOeval(expected, expected.loadRes(list(results)), "bbox")
        scoring.params.imgIds = sorted(image_ids)
        scoring.evaluate()
        scoring.accumulate()
        scoring.summarize()
    return Accuracy(float(scoring.stats[0]), float(scoring.stats[1]), len(image_ids))
