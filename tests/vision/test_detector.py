"""Whole detectors: real models on a real picture, and models that misbehave."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.errors import ModelError
from agent.vision.detector import golden_boxes, load_detector
from tests.vision import models

FOUR_AND_A_BUS = Counter(person=4, bus=1)
# What each model finds on bus.jpg at confidence 0.25. The smallest honestly misses things, and the quantised
# one at 416 takes a part of the bus for a truck as well.
REAL_MODELS = {
    "yolo11n_640_fp32deq.onnx": FOUR_AND_A_BUS,
    "yolo11n_320_fp32deq.onnx": FOUR_AND_A_BUS,
    "yolo11n_320_int8.onnx": FOUR_AND_A_BUS,
    "yolo11n_640_dynrange_int8.tflite": FOUR_AND_A_BUS,
    "yolo11n_640_full_integer_quant.tflite": FOUR_AND_A_BUS,
    "yolo11n_416_full_integer_quant.tflite": FOUR_AND_A_BUS + Counter(truck=1),
    "yolo11n_224_full_integer_quant.tflite": Counter(person=3, truck=1),
    "yolov8n_320_int8_floatio.tflite": FOUR_AND_A_BUS,
    "yolo26n_640_int8_end2end.tflite": FOUR_AND_A_BUS,
    "yolox_nano_416_fp32.onnx": FOUR_AND_A_BUS,
    "yolox_nano_416_float16.tflite": FOUR_AND_A_BUS,
}


@pytest.mark.parametrize("name", REAL_MODELS)
def test_a_real_model_finds_what_is_on_the_picture(name: str, assets: Path) -> None:
    stated: dict[str, Any] = {}
    if name.startswith("yolox"):
        labels = (assets / "models" / "coco_labels.txt").read_text().splitlines()
        stated = {"family": "yolox", "labels": labels[:80]}
    detector = load_detector(assets / "models" / name, **stated)
    image = models.read_picture(assets / "images" / "bus.jpg")
    found = detector.detect(image)
    assert Counter(detector.labels[label] for label in found.labels) == REAL_MODELS[name]
    height, width = image.shape[:2]
    assert (found.boxes >= 0).all()
    assert (found.boxes <= [width, height, width, height]).all()


def test_the_bus_is_where_it_is(assets: Path) -> None:
    detector = load_detector(assets / "models" / "yolo11n_640_fp32deq.onnx")
    found = detector.detect(models.read_picture(assets / "images" / "bus.jpg"))
    bus = found.boxes[[detector.labels[label] for label in found.labels].index("bus")]
    assert bus == pytest.approx([15, 230, 800, 760], abs=30)


@pytest.fixture
def colour_model(tmp_path: Path) -> Path:
    path = tmp_path / "colour.onnx"
    path.write_bytes(models.onnx_model())
    return path


def test_boxes_come_in_the_frames_pixels(colour_model: Path) -> None:
    detector = load_detector(colour_model)
    frame = np.full((320, 320, 3), 204, np.uint8)
    frame[..., :2] = 0
    (box,) = golden_boxes(detector, frame)
    assert list(box) == pytest.approx([0, 0.8, 80, 80, 240, 160], abs=0.01)


def test_every_stage_is_timed(colour_model: Path) -> None:
    found = load_detector(colour_model).detect(models.colour_frame(0))
    assert set(found.stages_ms) == {"pre", "infer", "post"}
    assert all(spent > 0 for spent in found.stages_ms.values())


def test_other_thresholds_share_the_loaded_model(colour_model: Path) -> None:
    detector = load_detector(colour_model)
    strict = detector.with_thresholds(0.9, 0.6)
    assert not len(strict.detect(models.colour_frame(0)).labels)
    assert len(detector.detect(models.colour_frame(0)).labels) == 1


def test_wrong_labels_are_noticed_at_loading(colour_model: Path) -> None:
    with pytest.raises(ModelError) as caught:
        load_detector(colour_model, family="ultralytics", labels=["red", "green"])
    assert caught.value.code == "model.classes"


def test_a_model_that_answers_nan_is_refused_at_loading(tmp_path: Path) -> None:
    path = tmp_path / "nan.onnx"
    path.write_bytes(models.onnx_model(gain=float("nan")))
    with pytest.raises(ModelError) as caught:
        load_detector(path)
    assert caught.value.code == "model.not_finite"


def test_the_wrong_family_is_noticed_at_loading(colour_model: Path) -> None:
    for family in ("yolox", "ssd-postprocess", "ultralytics-e2e", "ultralytics-v5"):
        with pytest.raises(ModelError) as caught:
            load_detector(colour_model, family=family, labels=models.LABELS)
        assert caught.value.code in {"model.shape", "model.classes"}
