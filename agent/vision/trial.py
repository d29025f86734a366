"""The golden set on this device: what the model's makers found, found again or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
from msgspec import convert

from agent.errors import ModelError
from agent.host.memfd import read_memfd
from agent.schema.document import Malformed, parse_msgpack
from agent.schema.ipc import DetectPicture, GoldenFinished, PictureDetected, RunGolden
from agent.schema.manifest import GoldenSet, StageSketch
from agent.schema.values import Box
from agent.vision.golden import Matched, MatchRule, match
from agent.vision.stages import Divergence, first_divergence, sketch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from agent.vision.detector import Detector


_CPU = "CPUExecutionProvider"


def read_golden(fd: int) -> GoldenSet:
    """Return the golden set in a memfd.

    Raises:
        ModelError: `model.golden` when it cannot be read or is empty.
    """
    try:
        with read_memfd(fd) as view:
            golden: GoldenSet = parse_msgpack(view[:], GoldenSet)
    except Malformed as error:
        raise ModelError(f"the golden set cannot be read: {error}", code="model.golden") from error
    if not golden.frames:
        raise ModelError("the golden set is empty", code="model.golden")
    return golden


def run_golden(
    detector: Detector, golden: GoldenSet, request: RunGolden, runs_on: Sequence[str] = ()
) -> GoldenFinished:
    """Run every golden frame through the detector and compare with what its makers found.

    Where too little matches, the first stage that differs is named, if the golden set has sketches of them.
    `runs_on` names the providers and delegates that were asked for.

    Raises:
        ModelError: A picture cannot be decoded, lacks this variant, or inference fails.
    """
    judged = detector.with_thresholds(golden.confidence, golden.iou)
    rule = MatchRule(request.match_iou, request.score_tolerance)
    total, times_ms = Matched(), []
    missed: Missed | None = None
    for number, frame in enumerate(golden.frames):
        image = cv2.imdecode(np.frombuffer(frame.image, np.uint8), cv2.IMREAD_COLOR)
        if image is None or request.variant not in frame.expected:
            message = f"golden frame {number} is no picture or lacks variant {request.variant}"
            raise ModelError(message, code="model.golden")
        detected = judged.detect(image)  # type: ignore[arg-type] # cv2 cannot say uint8
        times_ms.append(detected.stages_ms["infer"])
        matched = match(frame.expected[request.variant], detected.golden(), rule)
        total += matched
        usual = frame.stages.get(request.variant)
        if usual is not None and min(matched.recall, matched.precision) < 1:
            missed = missed or Missed(image, usual)  # type: ignore[arg-type] # cv2 cannot say uint8
    problem = _problem(total, request.min_match)
    delegate = ", ".join(one for one in runs_on if one != _CPU)
    divergence = _bisect(judged, missed, delegate) if problem and missed else None
    return GoldenFinished(
        id=request.id,
        frames=len(golden.frames),
        recall=total.recall,
        precision=total.precision,
        p95_ms=float(np.percentile(times_ms, 95)),
        problem=f"{problem}; {divergence}" if divergence else problem,
        stage=divergence.stage if divergence else "",
    )


def detect_picture(detector: Detector, fd: int, request: DetectPicture) -> PictureDetected:
    """Find the objects in the JPEG in a memfd.

    Raises:
        ModelError: It cannot be decoded, or inference fails.
    """
    with read_memfd(fd) as view:
        image = cv2.imdecode(np.frombuffer(view, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ModelError("the picture cannot be decoded", code="model.picture")
    found = detector.with_thresholds(request.confidence, request.iou).detect(image)  # type: ignore[arg-type] # cv2 cannot say uint8
    boxes = convert(found.golden(), list[Box])
    return PictureDetected(id=request.id, boxes=boxes, stages_ms=found.stages_ms)


class Missed(NamedTuple):
    """A picture in which something else was found, and how its makers saw its stages."""

    image: NDArray[np.uint8]
    usual: StageSketch


def _bisect(detector: Detector, missed: Missed, delegate: str) -> Divergence:
    return first_divergence(missed.usual, sketch(detector, missed.image), delegate=delegate)


def _problem(total: Matched, min_match: float) -> str:
    shares = {"recall": total.recall, "precision": total.precision}
    low = [f"{name} {share:.3f}" for name, share in shares.items() if share < min_match]
    return f"{' and '.join(low)} below {min_match}" if low else ""
