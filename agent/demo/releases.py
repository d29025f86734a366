"""The releases of the story, good and bad, built from the bundled models.

Golden expectations are computed here by the very detector that devices run, as a release's makers would.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.demo.fleet import DEVICE_CLASS, DemoFleet
from agent.demo.scene import CLASSES
from agent.errors import CameraError
from agent.release.build import NO_BASELINE, ReleaseDraft, VariantDraft, build_release
from agent.release.golden import GoldenBox, golden_set
from agent.schema.drift import DriftBaseline
from agent.schema.manifest import InputSpec, ProbationSpec
from agent.schema.values import BackendName, FamilyName, Precision
from agent.vision.detector import golden_boxes, load_detector

BUNDLED = Path(__file__).parent / "bundled"
VIDEO = BUNDLED / "conveyor.mp4"
TRUTH = BUNDLED / "conveyor.json"
NAME = "parts"
_GOLDEN_FRAMES = (5, 25, 45, 110, 262, 290)  # busy ones, none of them in the glare
_CONFIDENCE, _IOU = 0.25, 0.6
_SIZE = 320
HINTED = "generic-x86-64"
_MEMORY_MB = 256

Boxes = list[list[GoldenBox]]
Alteration = Callable[[Boxes], Boxes]


def as_found(boxes: Boxes) -> Boxes:
    """Expect what the model finds."""
    return boxes


def other_classes(boxes: Boxes) -> Boxes:
    """Expect every object to be of the next class: a golden set made with another order of classes."""
    return [[((box[0] + 1) % len(CLASSES), *box[1:]) for box in image] for image in boxes]


@dataclass(frozen=True)
class Script:
    """What a release is made of.

    Attributes:
        files: Bundled model files, one variant each.
        judge: Bundled model that the golden expectations come from; None for each variant's own.
        alter: What is done to the expectations.
        probation_s: Length of probation the release asks for, seconds; None for the device's own.
        hints_ms: Expected milliseconds of a file on `HINTED`, the profile of the hints.
        drift_baseline: What its pictures and results are said to look like.
    """

    version: str
    counter: int
    files: tuple[str, ...]
    judge: str | None = None
    alter: Alteration = as_found
    probation_s: float | None = None
    hints_ms: Mapping[str, float] = field(default_factory=dict)
    drift_baseline: DriftBaseline = NO_BASELINE


FIRST = Script("1.0.0", 1, ("parts-1.onnx", "parts-1.tflite"))
BETTER = Script("2.0.0", 2, ("parts-2.onnx", "parts-2.tflite"))
FORGED = Script("3.0.0", 3, ("parts-2.onnx",))
CRASHING = Script("4.0.0", 4, ("faulty-crash.onnx",), judge="parts-2.onnx")
WRONG = Script("5.0.0", 5, ("parts-2.onnx",), alter=other_classes)
GLARING = Script("6.0.0", 6, ("faulty-glare.onnx",), probation_s=30.0)


def build(fleet: DemoFleet, script: Script) -> Path:
    """Seal a release under a new key known to the fleet's key service; return its folder."""
    draft = draft_of(script)
    dek = os.urandom(32)
    fleet.registry.put_release_key(draft.release_id, dek)
    folder = fleet.folder / "releases" / script.version
    build_release(folder, draft, dek)
    return folder


def draft_of(script: Script) -> ReleaseDraft:
    """Return what the release's makers hand in: models, and a golden set with expectations."""
    variants = [_variant(file, script.hints_ms.get(file)) for file in script.files]
    images = _golden_images()
    encoded = [cv2.imencode(".png", image)[1].tobytes() for image in images]
    expected = {
        variant.id: script.alter(_find(BUNDLED / (script.judge or file), images))
        for variant, file in zip(variants, script.files, strict=True)
    }
    return ReleaseDraft(
        name=NAME,
        version=script.version,
        device_class=DEVICE_CLASS,
        counter=script.counter,
        labels=list(CLASSES),
        variants=variants,
        golden=golden_set(encoded, expected, confidence=_CONFIDENCE, iou=_IOU),
        probation=ProbationSpec(seconds=script.probation_s),
        drift_baseline=script.drift_baseline,
        provenance={
            "source": "the project's own procedural scene",
            "files": ", ".join(script.files),
        },
    )


def _variant(file: str, hint_ms: float | None) -> VariantDraft:
    path = BUNDLED / file
    is_onnx = path.suffix == ".onnx"
    return VariantDraft(
        id=f"onnx-fp32-{_SIZE}" if is_onnx else f"litert-int8-{_SIZE}",
        model=path,
        backend=BackendName.ONNXRUNTIME if is_onnx else BackendName.LITERT,
        precision=Precision.FP32 if is_onnx else Precision.DYNAMIC_INT8,
        family=FamilyName.ULTRALYTICS,
        input=InputSpec(width=_SIZE, height=_SIZE, layout="nchw" if is_onnx else _layout(path)),
        accuracy=_accuracy(file),
        memory_mb=_MEMORY_MB,
        box_units="pixels" if is_onnx else "normalised",
        latency_ms={} if hint_ms is None else {HINTED: hint_ms},
    )


def _layout(path: Path) -> str:
    return load_detector(path, family=FamilyName.ULTRALYTICS.value).input.layout


def _accuracy(file: str) -> float:
    """Return the measured mAP50-95 that `scripts/train_demo_model` wrote beside the models."""
    measured: dict[str, dict[str, float]] = json.loads((BUNDLED / "accuracy.json").read_text())
    return measured.get(file, {}).get("video_map50_95", 0.0)


@cache
def _golden_images() -> tuple[NDArray[np.uint8], ...]:
    capture = cv2.VideoCapture(str(VIDEO))
    images: list[NDArray[np.uint8]] = []
    try:
        for index in range(max(_GOLDEN_FRAMES) + 1):
            is_read, image = capture.read()
            if not is_read:
                raise CameraError(f"{VIDEO}: expected frame {index}, found the end")
            if index in _GOLDEN_FRAMES:
                images.append(np.asarray(image, np.uint8))
    finally:
        capture.release()
    return tuple(images)


def _find(model: Path, images: Sequence[NDArray[np.uint8]]) -> Boxes:
    detector = load_detector(model, confidence=_CONFIDENCE, iou=_IOU)
    return [golden_boxes(detector, image) for image in images]
