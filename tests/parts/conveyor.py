"""The bundled film of the conveyor, as much of it as a test wants."""

from __future__ import annotations

import json
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.demo.releases import BUNDLED, TRUTH, VIDEO
from agent.schema.values import Box
from agent.vision.accuracy import Accuracy, coco_accuracy, coco_results
from agent.vision.detector import golden_boxes, load_detector


@cache
def film() -> list[NDArray[np.uint8]]:
    """All frames, BGR."""
    capture = cv2.VideoCapture(str(VIDEO))
    frames: list[Any] = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    return frames


def accuracy_on(model: str, frames: Collection[int]) -> Accuracy:
    """What a bundled model is worth on some frames, with the thresholds the demonstration's device has."""
    detector = load_detector(BUNDLED / model, confidence=0.25, iou=0.6)
    results = [
        result
        for frame in frames
        for result in coco_results(
            frame, msgspec.convert(golden_boxes(detector, film()[frame]), list[Box])
        )
    ]
    return coco_accuracy(json.loads(TRUTH.read_bytes()), results, sorted(frames))


def labels_of_first_frames(path: Path, frames: int = 60) -> Path:
    """Write the labels of the first frames: who judges a model by them looks at no others."""
    labels = json.loads(TRUTH.read_bytes())
    labels["images"] = labels["images"][:frames]
    labels["annotations"] = [one for one in labels["annotations"] if one["image_id"] < frames]
    path.write_text(json.dumps(labels))
    return path
