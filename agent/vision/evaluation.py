"""How accurate a model is, measured through the very detector that runs on the device.

Accuracy is judged on every box above a low confidence, as COCO does; the confusion matrix at the one an
operator would choose. Comparing two models is pure: two reports in, a verdict with the reasons out.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask

from agent.errors import ModelError
from agent.schema.messages import StageMs
from agent.schema.values import Box
from agent.vision.accuracy import Accuracy, coco_accuracy, coco_results
from agent.vision.families import DETECT
from agent.vision.timing import stage_percentiles

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent.vision.dataset import Dataset
    from agent.vision.detector import Detected, Detector

# What a confusion matrix counts: boxes an operator would see that lie on an object.
CONFUSION_CONFIDENCE = 0.25
CONFUSION_IOU = 0.5

Result = dict[str, Any]


class ClassReport(msgspec.Struct, frozen=True):
    """One class that occurs in the dataset."""

    label: str
    objects: int
    map50_95: float
    map50: float


class EvalReport(msgspec.Struct, frozen=True):
    """One model on one dataset; mean average precision in [0, 1], times in milliseconds per picture."""

    images: int
    boxes: int
    confidence: float
    iou: float
    map50_95: float
    map50: float
    classes: list[ClassReport]
    stages_ms: dict[str, StageMs]


class ClassChange(msgspec.Struct, frozen=True):
    """What one class lost (positive) or gained between two models, in mAP50-95."""

    label: str
    objects: int
    baseline: float
    model: float
    drop: float


class Comparison(msgspec.Struct, frozen=True):
    """A model against its baseline; `classes` begin with the one that lost most."""

    baseline: EvalReport
    drop: float
    max_drop: float
    passed: bool
    classes: list[ClassChange]


@dataclass(frozen=True)
class Evaluation:
    """A report with what its plots need.

    Attributes:
        accuracy: With the precision curve of each class.
        confusion: Counts, shape (classes + 1, classes + 1): rows are what is there, columns what was
            found, and the last of each is background.
    """

    report: EvalReport
    accuracy: Accuracy
    confusion: NDArray[np.int64]


def evaluate(
    detector: Detector, dataset: Dataset, pictures: Iterable[tuple[int, NDArray[np.uint8]]]
) -> Evaluation:
    """Run `detector` on the dataset's pictures and judge what it finds.

    Args:
        detector: With a low confidence, so that whole precision curves are seen.
        dataset: The labels.
        pictures: The dataset's own, perhaps with a progress bar round them.

    Raises:
        ConfigError: `dataset.classes` when the model's classes are not the dataset's.
        ModelError: The model is none for detection, or misbehaves.
    """
    if detector.task != DETECT:
        raise ModelError(f"expected a detection model, found {detector.task}", code="model.task")
    dataset.require_classes(detector.labels)
    results: list[Result] = []
    times_ms: list[dict[str, float]] = []
    for number, image in pictures:
        found = detector.detect(image)
        times_ms.append(found.stages_ms)
        results += coco_results(number, _boxes(found))
    accuracy = coco_accuracy(dataset.truth, results, list(dataset.files))
    report = EvalReport(
        images=accuracy.images,
        boxes=len(results),
        confidence=detector.confidence,
        iou=detector.iou,
        map50_95=round(accuracy.map50_95, 4),
        map50=round(accuracy.map50, 4),
        classes=_class_reports(accuracy, dataset),
        stages_ms=stage_percentiles(times_ms),
    )
    matrix = confusion(dataset.truth["annotations"], results, len(detector.labels))
    return Evaluation(report, accuracy, matrix)


def compare(model: EvalReport, baseline: EvalReport, max_drop: float) -> Comparison:
    """Judge whether `model` lost more than `max_drop` of mAP50-95 against `baseline`, and where."""
    before = {one.label: one.map50_95 for one in baseline.classes}
    changes = [
        ClassChange(
            label=one.label,
            objects=one.objects,
            baseline=before[one.label],
            model=one.map50_95,
            drop=round(before[one.label] - one.map50_95, 4),
        )
        for one in model.classes
    ]
    drop = round(baseline.map50_95 - model.map50_95, 4)
    ordered = sorted(changes, key=lambda change: -change.drop)
    return Comparison(baseline, drop, max_drop, drop <= max_drop, ordered)


def confusion(
    annotations: Iterable[dict[str, Any]], results: Iterable[Result], classes: int
) -> NDArray[np.int64]:
    """Count which class was found where which class is; see `Evaluation.confusion`."""
    matrix = np.zeros((classes + 1, classes + 1), np.int64)
    there, found = defaultdict(list), defaultdict(list)
    for one in annotations:
        there[one["image_id"]].append(one)
    for one in results:
        if one["score"] >= CONFUSION_CONFIDENCE:
            found[one["image_id"]].append(one)
    for image in there.keys() | found.keys():
        _confuse(matrix, there[image], found[image])
    return matrix


def _confuse(matrix: NDArray[np.int64], there: list[Result], found: list[Result]) -> None:
    """Pair the boxes of one picture, greatest overlap first, and count the pairs and what is left."""
    crowds = [bool(one["iscrowd"]) for one in there]
    pairs, in_crowd = _pairs(_overlaps(there, found, crowds), crowds)
    nothing = len(matrix) - 1
    for left, one in enumerate(there):
        if not crowds[left]:
            seen = found[pairs[left]]["category_id"] if left in pairs else nothing
            matrix[one["category_id"], seen] += 1
    for right in set(range(len(found))) - set(pairs.values()) - in_crowd:
        matrix[nothing, found[right]["category_id"]] += 1


def _overlaps(there: list[Result], found: list[Result], crowds: list[bool]) -> NDArray[np.float64]:
    """Return shape (found, there); for a crowd the share of the found box that lies in it."""
    if not there or not found:
        return np.zeros((len(found), len(there)))
    overlaps: NDArray[np.float64] = mask.iou(
        np.array([one["bbox"] for one in found], np.float64),
        np.array([one["bbox"] for one in there], np.float64),
        crowds,
    )
    return overlaps


def _pairs(overlaps: NDArray[np.float64], crowds: list[bool]) -> tuple[dict[int, int], set[int]]:
    """Return found by true object, each at most once, and the found ones that lie in a crowd."""
    pairs: dict[int, int] = {}
    in_crowd: set[int] = set()
    order = np.argsort(-overlaps, axis=None, kind="stable")
    for right, left in zip(*np.unravel_index(order, overlaps.shape), strict=True):
        if overlaps[right, left] < CONFUSION_IOU:
            break
        if crowds[left]:
            in_crowd.add(int(right))
        elif left not in pairs and right not in pairs.values():
            pairs[int(left)] = int(right)
    return pairs, in_crowd


def _boxes(found: Detected) -> list[Box]:
    return [
        Box(label=label, score=score, x_min=x_min, y_min=y_min, x_max=x_max, y_max=y_max)
        for label, score, x_min, y_min, x_max, y_max in found.golden()
    ]


def _class_reports(accuracy: Accuracy, dataset: Dataset) -> list[ClassReport]:
    return [
        ClassReport(
            dataset.names[one.label], one.objects, round(one.map50_95, 4), round(one.map50, 4)
        )
        for one in accuracy.classes
    ]
