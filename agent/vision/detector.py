"""One loaded model: frame in, boxes in the frame's pixels out, with the time of every stage.

detector = load_detector(Path("yolo11n.onnx"))
detected = detector.detect(cv2.imread("bus.jpg"))
print([detector.labels[label] for label in detected.labels])
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from agent.errors import ModelError
from agent.vision.backends import Backend, BackendOptions, Multistream, open_backend
from agent.vision.details import Details, check_parallel
from agent.vision.families import Decoder, open_decoder
from agent.vision.image import Letterbox, Scaled
from agent.vision.recognise import Facts, Stated, backend_of, head_of, model_path, recognise

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from agent.schema.manifest import InputSpec
    from agent.vision.golden import GoldenBox


@dataclass(frozen=True)
class Detected:
    """Objects found in one frame, best first.

    Attributes:
        boxes: Corners (x_min, y_min, x_max, y_max) in the frame's pixels, shape (N, 4), float32.
        scores: Shape (N,), float32, in [0, 1].
        labels: Class ids, shape (N,), int32.
        stages_ms: Milliseconds of `pre`, `infer` and `post`.
        details: What the model's task adds, in the frame's pixels; None for detection. A classifier's
            best class is one box round what the network saw of the frame.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int32]
    stages_ms: dict[str, float]
    details: Details | None = None

    def __post_init__(self) -> None:
        check_parallel(self.boxes, self.scores, self.labels, self.details)

    def golden(self) -> list[GoldenBox]:
        """Return the boxes as `(label, score, x_min, y_min, x_max, y_max)`, best first."""
        return [
            (label, score, *corners)
            for label, score, corners in zip(
                self.labels.tolist(), self.scores.tolist(), self.boxes.tolist(), strict=True
            )
        ]


@dataclass(frozen=True)
class Timing:
    """What loading cost, milliseconds."""

    load_ms: float
    first_inference_ms: float


@dataclass(frozen=True)
class Detector:
    """A model that is loaded and warm. Not for use by several threads at once.

    Attributes:
        facts: All that is known about the model, stated or read from its file.
        backend: The loaded runtime; `backend.infer` is the bare inference.
        confidence: Least score of a detection.
        iou: Two boxes of one class that overlap more are one object.
    """

    facts: Facts
    backend: Backend
    decoder: Decoder
    letterbox: Letterbox
    confidence: float
    iou: float
    timing: Timing

    @property
    def labels(self) -> Sequence[str]:
        """Return the class names by class id."""
        return self.facts.labels

    @property
    def input(self) -> InputSpec:
        """Return what the network expects."""
        return self.facts.input

    @property
    def task(self) -> str:
        """Return what the model finds: `detect`, `classify`, `pose`, `segment` or `obb`."""
        return self.facts.task

    def infer(self) -> list[NDArray[np.float32]]:
        """Run the network on what lies in its input buffer."""
        return self.backend.infer()

    def detect(self, frame_bgr: NDArray[np.uint8]) -> Detected:
        """Find the objects in a BGR frame, shape (H, W, 3).

        Raises:
            ModelError: The runtime gives up or its outputs make no sense.
        """
        return self.detect_scaled(self.letterbox.scale(frame_bgr))

    def detect_scaled(self, scaled: Scaled) -> Detected:
        """Find the objects in a frame that another thread has scaled; see `detect`."""
        started = time.perf_counter_ns()
        geometry = self.letterbox.paint(scaled)
        filled = time.perf_counter_ns()
        outputs = self.backend.infer()
        inferred = time.perf_counter_ns()
        found = self.decoder.decode(outputs, self.confidence, self.iou)
        boxes = geometry.to_frame(found.xyxy)
        details = found.details.to_frame(geometry) if found.details else None
        done = time.perf_counter_ns()
        stages_ms = {
            "pre": scaled.spent_ms + (filled - started) / 1e6,
            "infer": (inferred - filled) / 1e6,
            "post": (done - inferred) / 1e6,
        }
        return Detected(boxes, found.scores, found.labels, stages_ms, details)

    def split(self, streams: int) -> list[Detector]:
        """Return this detector and others of the same loaded model, each for a thread of its own, all warm.

        A runtime that runs one frame at a time gives only this one. Call it while the model's file is there.

        Raises:
            ModelError: There is no memory for so many, or one misbehaves on its first inference.
        """
        detectors = [self]
        if isinstance(self.backend, Multistream):
            while len(detectors) < streams:
                runtime = self.backend.another()
                _first_inference(runtime)
                letterbox = Letterbox(self.facts.input, runtime.input, runtime.buffer)
                detectors.append(replace(self, backend=runtime, letterbox=letterbox))
        return detectors

    def with_thresholds(self, confidence: float, iou: float) -> Detector:
        """Return the same loaded model with other thresholds."""
        return replace(self, confidence=confidence, iou=iou)


def load_detector(  # noqa: PLR0913 - all but the model are optional and named
    model: Path | int,
    *,
    backend: str | None = None,
    family: str | None = None,
    labels: Sequence[str] | None = None,
    input_spec: InputSpec | None = None,
    box_units: str | None = None,
    threads: int = 2,
    providers: Sequence[str] = (),
    delegates: Sequence[str] = (),
    confidence: float = 0.25,
    iou: float = 0.6,
    task: str | None = None,
    keypoints: tuple[int, int] | None = None,
    class_scores: str | None = None,
) -> Detector:
    """Load and warm up a model.

    What is not stated is read from the model file itself; what the file does not say is an error.

    Args:
        model: A file, or a descriptor of one (a sealed memfd), which stays open and the caller's.
        backend: Runtime; None reads the file's first bytes.
        family: How outputs are decoded; None reads the embedded metadata.
        labels: Class names by class id; None reads the embedded metadata.
        input_spec: What the network expects; None takes size and layout from its input tensor and colour
            and scale from the family.
        box_units: `pixels` or `normalised`; None measures it on the first inference.
        threads: CPU threads of the runtime.
        providers: ONNX Runtime execution providers in order of preference; see `BackendOptions`.
        delegates: LiteRT delegates, shared libraries.
        confidence: Least score of a detection.
        iou: Two boxes of one class that overlap more are one object.
        task: What the model finds; None reads the embedded metadata.
        keypoints: Of a pose model: number of key points and values of each; None reads the metadata.
        class_scores: Of a classifier: `probabilities`, which None means, or `logits`.

    Raises:
        ModelError: The model cannot be loaded, is ambiguous, or misbehaves on its first inference.
    """
    started = time.perf_counter_ns()
    path = model_path(model)
    options = BackendOptions(threads, providers, delegates)
    runtime = _open(backend or backend_of(path), path, options)
    loaded = time.perf_counter_ns()
    outputs = _first_inference(runtime)
    warm = time.perf_counter_ns()
    stated = Stated(family, labels, input_spec, box_units, task, keypoints, class_scores)
    facts = recognise(runtime, outputs, stated)
    decoder = open_decoder(facts.family, head_of(facts), facts.task)
    decoder.decode(outputs, confidence, iou)
    timing = Timing((loaded - started) / 1e6, (warm - loaded) / 1e6)
    letterbox = Letterbox(facts.input, runtime.input, runtime.buffer)
    return Detector(facts, runtime, decoder, letterbox, confidence, iou, timing)


def golden_boxes(detector: Detector, image_bgr: NDArray[np.uint8]) -> list[GoldenBox]:
    """Return what the detector finds as `(label, score, x_min, y_min, x_max, y_max)`, best first."""
    return detector.detect(image_bgr).golden()


def _open(name: str, path: str, options: BackendOptions) -> Backend:
    """Load the model; what a damaged file makes a runtime's Python layer raise is its fault, not ours."""
    try:
        return open_backend(name, path, options)
    except MemoryError as error:
        raise ModelError(
            f"the model wants too much memory: {error}", code="model.memory"
        ) from error
    except UnicodeDecodeError as error:
        raise ModelError(
            f"the model holds a broken name: {error}", code="model.unreadable"
        ) from error


def _first_inference(runtime: Backend) -> list[NDArray[np.float32]]:
    """Run once on an empty input, so that no camera frame pays for lazy set-up."""
    outputs = runtime.infer()
    for info, values in zip(runtime.outputs, outputs, strict=True):
        if not np.isfinite(values).all():
            raise ModelError(f"output {info.name} is not finite", code="model.not_finite")
    return outputs
