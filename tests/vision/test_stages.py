"""Faults put into one stage between picture and boxes; each must be named as the first stage that differs."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from agent.demo.scene import CLASSES
from agent.schema.ipc import RunGolden
from agent.schema.manifest import GoldenFrame, GoldenSet, InputSpec, StageSketch
from agent.vision.detector import Detector, golden_boxes, load_detector
from agent.vision.image import Scaler
from agent.vision.stages import first_divergence, sketch
from agent.vision.trial import run_golden
from tests.parts.drifting import BUNDLED, CONVEYOR, MODEL_FAULTS, PARTS, Picture, pictures

SIZE: dict[str, Any] = {"width": 320, "height": 320}
EXACT = RunGolden(id=1, variant="onnx", min_match=1.0, match_iou=0.99, score_tolerance=0.001)
REQUEST = RunGolden(id=1, variant="onnx", min_match=0.9, match_iou=0.7, score_tolerance=0.15)


def detector_of(model: str = "parts-2.onnx", **spec: Any) -> Detector:
    return load_detector(
        BUNDLED / model,
        family="ultralytics",
        labels=list(CLASSES),
        input_spec=InputSpec(**SIZE, **spec),
        threads=1,
    )


@pytest.fixture(scope="module")
def right() -> Detector:
    return detector_of()


@pytest.fixture(scope="module")
def picture() -> Picture:
    (shown,) = pictures(CONVEYOR, every=45, most=1)
    return shown


@pytest.fixture(scope="module")
def usual(right: Detector, picture: Picture) -> StageSketch:
    return sketch(right, picture)


def nearest(_: Scaler, frame: Picture, place: object) -> Picture:
    size = (place.width, place.height)  # type: ignore[attr-defined]
    return cv2.resize(frame, size, interpolation=cv2.INTER_NEAREST)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("spec", "stage", "told"),
    [
        ({"colour": "bgr"}, "colour order", "input.colour"),
        ({"scale": 1.0}, "normalisation", "255 times"),
        ({"scale": 1 / 127.5}, "normalisation", "input.scale"),
        ({"letterbox": "top-left"}, "resize", "letterbox"),
        ({"fit": "crop"}, "resize", "is placed at"),
        ({"pad_value": 255}, "normalisation", "padding"),
    ],
)
def test_a_wrong_input_is_named(
    picture: Picture, usual: StageSketch, spec: dict[str, Any], stage: str, told: str
) -> None:
    found = first_divergence(usual, sketch(detector_of(**spec), picture))
    assert found.stage == stage
    assert told in str(found)


def test_another_interpolation_is_named(
    picture: Picture, usual: StageSketch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Scaler, "_resize", nearest)
    found = first_divergence(usual, sketch(detector_of(), picture))
    assert (found.stage, found.likely) == ("resize", "another interpolation")


def test_another_decoder_is_named(right: Detector, picture: Picture, usual: StageSketch) -> None:
    exchanged = first_divergence(usual, sketch(right, picture[..., ::-1].copy()))
    assert (exchanged.stage, "decoded picture" in exchanged.what) == ("colour order", True)
    brighter = cv2.convertScaleAbs(picture, alpha=1.2)
    assert first_divergence(usual, sketch(right, brighter)).stage == "decode"  # type: ignore[arg-type]


def test_another_network_is_the_runtimes_or_its_delegates_fault(
    picture: Picture, usual: StageSketch
) -> None:
    found = sketch(detector_of("parts-1.onnx"), picture)
    assert first_divergence(usual, found).stage == "runtime"
    named = first_divergence(usual, found, delegate="libedgetpu.so.1")
    assert (named.stage, "libedgetpu.so.1" in named.likely) == ("delegate", True)


def test_scores_that_a_delegate_halves_are_its_fault(picture: Picture, usual: StageSketch) -> None:
    (fault,) = (one for one in MODEL_FAULTS if "delegate" in one.name)
    found = sketch(fault.spoil(PARTS, ()), picture)
    assert first_divergence(usual, found, delegate="libx.so").stage == "delegate"


def test_what_is_left_is_the_decoding_of_outputs(usual: StageSketch) -> None:
    assert first_divergence(usual, usual).stage == "post"


def test_a_jpeg_and_a_little_noise_are_no_other_stage(
    right: Detector, picture: Picture, usual: StageSketch
) -> None:
    noise = np.random.default_rng(1).integers(-1, 2, picture.shape)
    other = np.clip(picture + noise, 0, 255).astype(np.uint8)
    assert first_divergence(usual, sketch(right, other)).stage == "post"


def golden_of(right: Detector, picture: Picture, *, sketched: bool) -> GoldenSet:
    image = cv2.imencode(".png", picture)[1].tobytes()
    stages = {"onnx": sketch(right, picture)} if sketched else {}
    boxes = {"onnx": golden_boxes(right, picture)}
    return GoldenSet([GoldenFrame(image, boxes, stages)], right.confidence, right.iou)


def test_a_golden_run_says_where_it_went_wrong(right: Detector, picture: Picture) -> None:
    golden = golden_of(right, picture, sketched=True)
    assert run_golden(right, golden, REQUEST).problem == ""
    finished = run_golden(detector_of(scale=1.0), golden, REQUEST)
    assert finished.stage == "normalisation"
    assert "recall" in finished.problem
    assert "the first stage that differs is normalisation" in finished.problem


@pytest.mark.parametrize(
    ("runs_on", "stage"),
    [
        (["CPUExecutionProvider"], "runtime"),
        (["CUDAExecutionProvider", "CPUExecutionProvider"], "delegate"),
    ],
)
def test_the_cpu_is_no_delegate(
    right: Detector, picture: Picture, runs_on: list[str], stage: str
) -> None:
    golden = golden_of(right, picture, sketched=True)
    other = detector_of("parts-1.onnx")
    assert run_golden(other, golden, EXACT, runs_on).stage == stage


def test_an_older_golden_set_still_says_that_something_is_wrong(
    right: Detector, picture: Picture
) -> None:
    golden = golden_of(right, picture, sketched=False)
    finished = run_golden(detector_of(scale=1.0), golden, REQUEST)
    assert (finished.stage, "recall" in finished.problem) == ("", True)
