"""Every family decodes its layout and refuses nonsense with a named code."""

import numpy as np
import pytest

from agent.errors import ModelError
from agent.vision.families import MAX_BOXES, Decoder, Head, open_decoder

CLASSES = 4
SIDE = 64
GRID = 8 * 8 + 4 * 4 + 2 * 2  # anchors of YOLOX at 64 x 64


def ultralytics(*rows: tuple[float, ...], anchors: int = 20) -> list[np.ndarray]:
    """Rows of (cx, cy, w, h, label, score) as a v8 output."""
    output = np.zeros((1, 4 + CLASSES, anchors), np.float32)
    for place, (cx, cy, w, h, label, score) in enumerate(rows):
        output[0, :4, place] = cx, cy, w, h
        output[0, 4 + int(label), place] = score
    return [output]


def ultralytics_v5(*rows: tuple[float, ...]) -> list[np.ndarray]:
    output = np.zeros((1, 20, 5 + CLASSES), np.float32)
    for place, (cx, cy, w, h, label, score) in enumerate(rows):
        output[0, place, :5] = cx, cy, w, h, score
        output[0, place, 5 + int(label)] = 1.0
    return [output]


def ultralytics_e2e(*rows: tuple[float, ...]) -> list[np.ndarray]:
    output = np.zeros((1, 20, 6), np.float32)
    for place, (cx, cy, w, h, label, score) in enumerate(rows):
        output[0, place] = cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2, score, label
    return [output]


def yolox(*rows: tuple[float, ...]) -> list[np.ndarray]:
    """Objects at stride 8, in the cell of their centre."""
    output = np.zeros((1, GRID, 5 + CLASSES), np.float32)
    for cx, cy, w, h, label, score in rows:
        column, row = int(cx // 8), int(cy // 8)
        anchor = row * 8 + column
        output[0, anchor, :4] = cx / 8 - column, cy / 8 - row, np.log(w / 8), np.log(h / 8)
        output[0, anchor, 4], output[0, anchor, 5 + int(label)] = score, 1.0
    return [output]


def ssd(*rows: tuple[float, ...]) -> list[np.ndarray]:
    boxes, labels, scores = (np.zeros((1, 20, *more), np.float32) for more in ((4,), (), ()))
    for place, (cx, cy, w, h, label, score) in enumerate(rows):
        corners = np.array([cy - h / 2, cx - w / 2, cy + h / 2, cx + w / 2]) / SIDE
        boxes[0, place], labels[0, place], scores[0, place] = corners, label, score
    return [boxes, labels, scores, np.array([len(rows)], np.float32)]


ENCODERS = {
    "ultralytics": ultralytics,
    "ultralytics-v5": ultralytics_v5,
    "ultralytics-e2e": ultralytics_e2e,
    "yolox": yolox,
    "ssd-postprocess": ssd,
}
families = pytest.mark.parametrize("family", ENCODERS)


def decoder(family: str, classes: int = CLASSES, units: str = "pixels") -> Decoder:
    return open_decoder(family, Head(classes, SIDE, SIDE, units))


@families
def test_objects_come_out_as_they_went_in_best_first(family: str) -> None:
    outputs = ENCODERS[family]((20, 20, 10, 6, 1, 0.5), (44, 44, 8, 8, 3, 0.9))
    found = decoder(family).decode(outputs, 0.25, 0.6)
    assert found.xyxy == pytest.approx(np.array([[40, 40, 48, 48], [15, 17, 25, 23]]), abs=1e-3)
    assert found.scores == pytest.approx([0.9, 0.5])
    assert found.labels.tolist() == [3, 1]
    dtypes = [values.dtype.str for values in (found.xyxy, found.scores, found.labels)]
    assert dtypes == ["<f4", "<f4", "<i4"]


@families
def test_what_is_below_the_threshold_is_dropped(family: str) -> None:
    found = decoder(family).decode(ENCODERS[family]((20, 20, 10, 6, 1, 0.2)), 0.25, 0.6)
    assert found.xyxy.shape == (0, 4)


@families
def test_a_picture_without_objects_gives_empty_arrays(family: str) -> None:
    found = decoder(family).decode(ENCODERS[family](), 0.25, 0.6)
    assert (found.xyxy.shape, found.scores.shape, found.labels.shape) == ((0, 4), (0,), (0,))


@families
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_output_that_is_not_finite_is_refused(family: str, value: float) -> None:
    outputs = ENCODERS[family]((20, 20, 10, 6, 1, 0.5))
    for output in outputs:
        output[...] = value
    with pytest.raises(ModelError) as caught:
        decoder(family).decode(outputs, 0.25, 0.6)
    assert caught.value.code == "model.not_finite"


@families
@pytest.mark.parametrize("shape", [(1, 3), (2, 20, 6), (1, 1, 1, 1), ()])
def test_an_output_of_another_shape_is_refused(family: str, shape: tuple[int, ...]) -> None:
    outputs = [np.zeros(shape, np.float32)] * 4
    with pytest.raises(ModelError) as caught:
        decoder(family).decode(outputs, 0.25, 0.6)
    assert caught.value.code in {"model.shape", "model.classes"}


@families
def test_missing_outputs_are_refused(family: str) -> None:
    with pytest.raises(ModelError) as caught:
        decoder(family).decode([], 0.25, 0.6)
    assert caught.value.code == "model.shape"


@families
def test_another_number_of_classes_is_refused(family: str) -> None:
    outputs = ENCODERS[family]((20, 20, 10, 6, 3, 0.5))
    with pytest.raises(ModelError) as caught:
        decoder(family, classes=2).decode(outputs, 0.25, 0.6)
    assert caught.value.code == "model.classes"


@pytest.mark.parametrize("family", ["ultralytics", "ultralytics-v5", "ultralytics-e2e"])
def test_normalised_boxes_become_pixels(family: str) -> None:
    outputs = ENCODERS[family]((0.5, 0.25, 0.25, 0.125, 1, 0.5))
    found = decoder(family, units="normalised").decode(outputs, 0.25, 0.6)
    assert found.xyxy.tolist() == [[24, 12, 40, 20]]


@pytest.mark.parametrize("family", ["ultralytics", "ultralytics-v5", "ultralytics-e2e"])
def test_overlapping_boxes_of_one_class_are_one_object(family: str) -> None:
    same = ENCODERS[family]((20, 20, 10, 10, 1, 0.5), (21, 20, 10, 10, 1, 0.8))
    assert decoder(family).decode(same, 0.25, 0.6).scores.tolist() == pytest.approx([0.8])
    other = ENCODERS[family]((20, 20, 10, 10, 1, 0.5), (21, 20, 10, 10, 2, 0.8))
    assert decoder(family).decode(other, 0.25, 0.6).labels.tolist() == [2, 1]


def test_everything_everywhere_is_refused() -> None:
    flood = np.full((1, 4 + CLASSES, 2100), 0.9, np.float32)
    with pytest.raises(ModelError) as caught:
        decoder("ultralytics").decode([flood], 0.25, 0.6)
    assert caught.value.code == "model.flood"


def test_a_full_list_of_final_boxes_is_refused() -> None:
    flood = np.tile(np.array([1, 1, 9, 9, 0.9, 0], np.float32), (1, 300, 1))
    with pytest.raises(ModelError) as caught:
        decoder("ultralytics-e2e").decode([flood], 0.25, 0.6)
    assert caught.value.code == "model.flood"


def test_the_thresholds_of_an_evaluation_are_no_flood() -> None:
    rng = np.random.default_rng(0)
    many = rng.uniform(0.002, 0.04, (1, 4 + CLASSES, 5000)).astype(np.float32)
    many[0, :2] = rng.uniform(0, SIDE, (2, 5000))
    found = decoder("ultralytics").decode([many], 0.001, 0.6)
    assert len(found.scores) == MAX_BOXES
    assert (np.diff(found.scores) <= 0).all()


def test_unknown_families_and_units_are_refused() -> None:
    for family, units in (("palm-reading", "pixels"), ("ultralytics", "furlongs")):
        with pytest.raises(ModelError) as caught:
            decoder(family, units=units)
        assert caught.value.code == "model.family"
