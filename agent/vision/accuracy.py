"""COCO mean average precision, computed by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from agent.schema.values import Box

# Axes of pycocotools' precision array: IoU 0.50 to 0.95, recall, class, area (all first), detections (100 last).
_ALL_AREAS, _MOST_DETECTIONS = 0, -1


@dataclass(frozen=True)
class ClassAccuracy:
    """One class that occurs in the truth.

    Attributes:
        label: Class id.
        objects: Labelled objects, crowds not counted.
        map50_95: Average precision in [0, 1] over IoU 0.50 to 0.95.
        map50: Average precision at IoU 0.50.
        precision: Precision at IoU 0.50 for each recall of 0, 0.01 … 1, shape (101,).
    """

    label: int
    objects: int
    map50_95: float
    map50: float
    precision: NDArray[np.float64]


@dataclass(frozen=True)
class Accuracy:
    """Mean average precision in [0, 1] over IoU 0.50 to 0.95, and at 0.50, and the number of images."""

    map50_95: float
    map50: float
    images: int
    classes: tuple[ClassAccuracy, ...] = ()


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
    with contextlib.redirect_stdout(io.StringIO()):
        expected = _indexed(truth)
        found = (
            expected.loadRes(list(results)) if results else _indexed({**truth, "annotations": []})
        )
        scoring = COCOeval(expected, found, "bbox")
        scoring.params.imgIds = sorted(image_ids)
        scoring.evaluate()
        scoring.accumulate()
        scoring.summarize()
    classes = _by_class(scoring, _count_objects(truth, set(image_ids)))
    # pycocotools says -1 where nothing is labelled.
    map50_95, map50 = (max(0.0, float(value)) for value in scoring.stats[:2])
    return Accuracy(map50_95, map50, len(image_ids), classes)


def _indexed(dataset: dict[str, Any]) -> Any:
    coco = COCO()
    coco.dataset = dataset
    coco.createIndex()
    return coco


def _count_objects(truth: dict[str, Any], image_ids: set[int]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for one in truth["annotations"]:
        if one["image_id"] in image_ids and not one.get("iscrowd"):
            counts[one["category_id"]] = counts.get(one["category_id"], 0) + 1
    return counts


def _by_class(scoring: Any, objects: dict[int, int]) -> tuple[ClassAccuracy, ...]:
    precision = scoring.eval["precision"][:, :, :, _ALL_AREAS, _MOST_DETECTIONS]
    labels = enumerate(scoring.params.catIds)
    return tuple(
        ClassAccuracy(
            label=label,
            objects=objects[label],
            map50_95=float(precision[:, :, place].mean()),
            map50=float(precision[0, :, place].mean()),
            precision=precision[0, :, place],
        )
        for place, label in labels
        if label in objects
    )
