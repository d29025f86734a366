"""Classifiers see the middle of the frame, scaled as Pillow does; boxes find their way back."""

import numpy as np
import pytest

from agent.errors import ModelError
from agent.schema.manifest import InputSpec
from agent.vision.backends import TensorInfo
from agent.vision.image import Letterbox, fit
from agent.vision.resample import Taps, resample, triangle_taps
from tests.vision import models

SQUARE = InputSpec(width=32, height=32, fit="crop")


def filled(frame: np.ndarray, spec: InputSpec = SQUARE) -> np.ndarray:
    shape = (1, 3, spec.height, spec.width)
    buffer = np.zeros(shape, np.float32)
    Letterbox(spec, TensorInfo("images", shape, np.dtype(np.float32)), buffer).fill(frame)
    return np.rint(buffer * 255).astype(np.uint8).squeeze(0)


@pytest.mark.parametrize("size", [(64, 128), (128, 64)])
def test_the_middle_of_the_longer_side_is_kept(size: tuple[int, int]) -> None:
    frame = np.zeros((*size, 3), np.uint8)
    middle = tuple(slice(side // 2 - 32, side // 2 + 32) for side in size)
    frame[middle] = (10, 20, 30)
    picture = filled(frame)[:, 1:-1, 1:-1]
    assert picture.reshape(3, -1).min(axis=1).tolist() == [30, 20, 10]
    assert picture.reshape(3, -1).max(axis=1).tolist() == [30, 20, 10]


def test_boxes_of_the_input_are_where_the_network_looked() -> None:
    geometry = fit(128, 64, SQUARE)
    whole = geometry.to_frame(np.array([[0, 0, 32, 32]], np.float32))
    assert whole.tolist() == [[32, 0, 96, 64]]


def test_an_input_that_is_not_square_takes_the_frame_distorted() -> None:
    spec = InputSpec(width=64, height=32, fit="crop")
    frame = models.colour_frame(1, size=(100, 300))
    assert (filled(frame, spec)[1] == 204).all()
    whole = fit(300, 100, spec).to_frame(np.array([[0, 0, 64, 32]], np.float32))
    assert whole.tolist() == [[0, 0, 300, 100]]


def test_frames_of_several_sizes_follow_each_other() -> None:
    shape = (1, 3, 32, 32)
    buffer = np.zeros(shape, np.float32)
    box = Letterbox(SQUARE, TensorInfo("images", shape, np.dtype(np.float32)), buffer)
    for size in ((48, 64), (64, 48), (20, 20), (32, 32)):
        box.fill(models.colour_frame(2, size=size))
        assert np.rint(buffer[0, 2] * 255).min() == 204


def test_a_fit_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ModelError, match="fit letterbox or crop") as caught:
        fit(10, 10, InputSpec(width=32, height=32, fit="skin-tight"))
    assert caught.value.code == "model.input"


def test_fine_stripes_become_grey_instead_of_an_alias() -> None:
    stripes = np.zeros((120, 120, 3), np.uint8)
    stripes[:, ::2] = 200
    small = resample(stripes, triangle_taps(120, 32, 0, 32), triangle_taps(120, 32, 0, 32))
    assert small[:, 2:-2].min() >= 85
    assert small[:, 2:-2].max() <= 115


def test_taps_are_a_triangle_as_wide_as_two_target_pixels() -> None:
    taps = triangle_taps(8, 4, 0, 4)
    # The second target pixel is centred at 3.0 and reaches from 1 to 5.
    weights = {
        int(place): weight for place, weight in zip(*columns(taps, 1), strict=True) if weight
    }
    assert weights == pytest.approx({1: 0.125, 2: 0.375, 3: 0.375, 4: 0.125})
    assert taps.weights.sum(axis=0) == pytest.approx(np.ones(4))


def test_enlarging_is_plain_bilinear() -> None:
    taps = triangle_taps(4, 8, 0, 8)
    weights = {
        int(place): weight for place, weight in zip(*columns(taps, 3), strict=True) if weight
    }
    assert weights == pytest.approx({1: 0.75, 2: 0.25})


def columns(taps: Taps, index: int) -> tuple[np.ndarray, np.ndarray]:
    return taps.places[:, index], taps.weights[:, index]
