"""The letterbox: against a naive one, there and back again, on frames of any shape."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import ModelError
from agent.schema.manifest import InputSpec
from agent.vision.backends import TensorInfo
from agent.vision.image import Letterbox, Scaler, fit

sides = st.integers(8, 900)
inputs = st.builds(
    lambda width, height, layout, colour, letterbox: InputSpec(
        width=width, height=height, layout=layout, colour=colour, letterbox=letterbox
    ),
    st.sampled_from([32, 64, 96]),
    st.sampled_from([32, 64, 96]),
    st.sampled_from(["nchw", "nhwc"]),
    st.sampled_from(["rgb", "bgr"]),
    st.sampled_from(["center", "top-left"]),
)
tensors = st.sampled_from(
    [("f4", 0.0, 0), ("f2", 0.0, 0), ("i1", 1 / 255, -128), ("u1", 1 / 255, 0), ("i1", 0.02, 5)]
)


def made(spec: InputSpec, kind: tuple[str, float, int]) -> tuple[Letterbox, np.ndarray, TensorInfo]:
    shape = (1, 3, spec.height, spec.width)
    if spec.layout == "nhwc":
        shape = (1, spec.height, spec.width, 3)
    dtype = np.dtype(kind[0])
    buffer = np.zeros(shape, dtype)
    info = TensorInfo("images", shape, dtype, kind[1], kind[2])
    return Letterbox(spec, info, buffer), buffer, info


def naive(frame: np.ndarray, spec: InputSpec, info: TensorInfo) -> np.ndarray:
    """The same in plain steps, with whole intermediate pictures."""
    place = fit(frame.shape[1], frame.shape[0], spec)
    canvas = np.full((spec.height, spec.width, 3), spec.pad_value, np.uint8)
    small = cv2.resize(frame, (place.width, place.height), interpolation=cv2.INTER_LINEAR)
    canvas[place.top : place.top + place.height, place.left : place.left + place.width] = small
    real = canvas[..., :: -1 if spec.colour == "rgb" else 1] * spec.scale
    if info.scale:
        bounds = np.iinfo(info.dtype)
        real = np.clip(np.rint(real / info.scale) + info.zero_point, bounds.min, bounds.max)
    values = real.astype(info.dtype)[None]
    return values.transpose(0, 3, 1, 2) if spec.layout == "nchw" else values


@settings(max_examples=60, deadline=None)
@given(sides, sides, inputs, tensors, st.integers(0, 2**32 - 1))
def test_the_buffer_equals_a_naive_letterbox(
    width: int, height: int, spec: InputSpec, kind: tuple[str, float, int], seed: int
) -> None:
    frame = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    letterbox, buffer, info = made(spec, kind)
    letterbox.fill(frame)
    np.testing.assert_array_equal(buffer, naive(frame, spec, info))


@settings(max_examples=100, deadline=None)
@given(sides, sides, inputs, st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_a_box_comes_back_to_where_it_was(
    width: int, height: int, spec: InputSpec, corners: list[float]
) -> None:
    x_min, x_max = sorted((corners[0] * width, corners[1] * width))
    y_min, y_max = sorted((corners[2] * height, corners[3] * height))
    box = np.array([[x_min, y_min, x_max, y_max]], np.float32)
    place = fit(width, height, spec)
    inside = place.to_input(box)
    assert inside.min() >= -1e-3
    assert (inside[0, [0, 2]] <= spec.width + 1e-3).all()
    assert (inside[0, [1, 3]] <= spec.height + 1e-3).all()
    np.testing.assert_allclose(place.to_frame(inside), box, atol=0.05)


@settings(max_examples=100, deadline=None)
@given(sides, sides, inputs)
def test_the_frame_lies_inside_and_touches_two_edges(
    width: int, height: int, spec: InputSpec
) -> None:
    place = fit(width, height, spec)
    assert 0 <= place.left <= spec.width - place.width
    assert 0 <= place.top <= spec.height - place.height
    assert place.width == spec.width or place.height == spec.height


def test_boxes_outside_the_frame_are_clipped_to_it() -> None:
    place = fit(100, 50, InputSpec(width=64, height=64))
    box = place.to_frame(np.array([[-50, -50, 500, 500]], np.float32))
    assert box.tolist() == [[0, 0, 100, 50]]


def test_old_padding_does_not_survive_a_change_of_camera() -> None:
    spec = InputSpec(width=64, height=64)
    letterbox, buffer, info = made(spec, ("f4", 0.0, 0))
    rng = np.random.default_rng(1)
    for shape in ((40, 80, 3), (80, 40, 3), (64, 64, 3), (40, 80, 3)):
        frame = rng.integers(0, 256, shape, np.uint8)
        letterbox.fill(frame)
        np.testing.assert_array_equal(buffer, naive(frame, spec, info))


def test_frames_scaled_beforehand_by_two_cameras_keep_their_own_place() -> None:
    spec = InputSpec(width=64, height=64)
    letterbox, buffer, info = made(spec, ("f4", 0.0, 0))
    rng = np.random.default_rng(1)
    frames = [rng.integers(0, 256, shape, np.uint8) for shape in ((40, 80, 3), (90, 40, 3))] * 2
    cameras = [Scaler(spec), Scaler(spec)] * 2
    scaled = [camera.scale(frame) for camera, frame in zip(cameras, frames, strict=True)]
    for frame, one in zip(frames, scaled, strict=True):
        letterbox.paint(one)
        np.testing.assert_array_equal(buffer, naive(frame, spec, info))


@pytest.mark.parametrize(
    "wrong",
    [
        {"width": 96},
        {"layout": "nhwc"},
        {"colour": "cmyk"},
        {"letterbox": "tile"},
        {"pad_value": 300},
    ],
)
def test_a_specification_that_does_not_fit_the_tensor_is_refused(wrong: dict) -> None:
    spec = InputSpec(**({"width": 64, "height": 64} | wrong))
    info = TensorInfo("images", (1, 3, 64, 64), np.dtype("f4"))
    with pytest.raises(ModelError) as caught:
        Letterbox(spec, info, np.zeros(info.shape, info.dtype)).fill(np.zeros((9, 9, 3), np.uint8))
    assert caught.value.code == "model.input"
