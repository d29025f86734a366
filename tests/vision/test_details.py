"""Key points, masks, rotated boxes and rankings as values: checked, carried into the frame, bounded."""

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from agent.schema.ipc import MAX_MESSAGE_BYTES, FrameResult
from agent.schema.values import Box, Outline, RotatedBox, Skeleton
from agent.vision.details import (
    MAX_OUTLINE_POINTS,
    Details,
    Keypoints,
    Masks,
    Ranking,
    Rotated,
    check_parallel,
)
from agent.vision.families import MAX_BOXES
from agent.vision.image import Geometry
from agent.vision.shapes import ranking_of, shapes_of

# A frame of 200 x 100 in the middle of an input of 100 x 100.
WIDE = Geometry(frame_width=200, frame_height=100, width=100, height=50, left=0, top=25)
F4 = np.float32


def points(*shape: int) -> NDArray[np.float32]:
    return np.zeros(shape, F4)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Keypoints(points(2, 5, 3), points(2, 5)),
        lambda: Keypoints(points(2, 5, 2), points(2, 4)),
        lambda: Masks((np.zeros((4, 4), np.uint8),), points(2, 2), points(2)),
        lambda: Masks((np.zeros(4, np.uint8),), points(1, 2), points(2)),
        lambda: Masks((), points(0, 2), points(1)),
        lambda: Rotated(points(3, 4)),
        lambda: Ranking(np.zeros((2, 2), np.int32), points(2, 2)),
        lambda: Ranking(np.zeros(2, np.int32), points(3)),
        lambda: check_parallel(points(2, 4), points(2), np.zeros(3, np.int32), None),
        lambda: check_parallel(points(2, 5), points(2), np.zeros(2, np.int32), None),
        lambda: check_parallel(
            points(2, 4), points(2), np.zeros(2, np.int32), Rotated(points(1, 5))
        ),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(make: object) -> None:
    with pytest.raises(ValueError, match="expected"):
        make()  # type: ignore[operator]


def test_keypoints_leave_the_letterbox_and_stay_in_the_frame() -> None:
    xy = np.array([[[50, 50], [0, 25], [-5, 90]]], F4)
    moved = Keypoints(xy, points(1, 3)).to_frame(WIDE)
    assert moved.xy.tolist() == [[[100, 50], [0, 0], [0, 100]]]


def test_rotated_boxes_leave_the_letterbox_and_keep_their_angle() -> None:
    moved = Rotated(np.array([[50, 50, 10, 20, 0.5]], F4)).to_frame(WIDE)
    assert moved.xywhr.tolist() == [[100, 50, 20, 40, 0.5]]


def test_masks_lose_what_lies_in_the_padding() -> None:
    window = np.ones((20, 10), np.uint8)
    moved = Masks((window,), np.array([[10, 15]], F4), np.ones(2, F4)).to_frame(WIDE)
    assert moved.windows[0].shape == (10, 10)
    assert moved.origins.tolist() == [[20, 0]]
    picture = moved.picture(0, 200, 100)
    assert picture.shape == (100, 200)
    assert picture[0:20, 20:40].all()
    assert picture.sum() == 20 * 20


def test_a_mask_wholly_in_the_padding_is_empty() -> None:
    masks = Masks((np.ones((5, 5), np.uint8),), np.array([[10, 5]], F4), np.ones(2, F4))
    moved = masks.to_frame(WIDE)
    assert moved.outline(0).shape == (0, 2)
    assert moved.picture(0, 200, 100).sum() == 0


def test_an_outline_runs_round_the_largest_part_of_a_mask() -> None:
    window = np.zeros((30, 30), np.uint8)
    window[2:12, 3:23] = 1
    window[20:22, 20:22] = 1
    masks = Masks((window,), np.array([[100, 50]], F4), np.full(2, 2, F4))
    outline = masks.outline(0)
    assert outline.min(axis=0).tolist() == [100 + 3.5 * 2, 50 + 2.5 * 2]
    assert outline.max(axis=0).tolist() == [100 + 22.5 * 2, 50 + 11.5 * 2]


def test_a_ragged_outline_is_simplified_until_it_is_short() -> None:
    window = (np.random.default_rng(0).random((80, 80)) > 0.3).astype(np.uint8)
    masks = Masks((window,), points(1, 2), np.ones(2, F4))
    assert 3 <= len(masks.outline(0)) <= MAX_OUTLINE_POINTS
    assert len(masks.outline(0, 4)) <= 4


def test_shapes_are_what_the_details_say() -> None:
    skeleton = Keypoints(np.array([[[1.26, 2]]], F4), np.array([[0.5]], F4))
    assert shapes_of(skeleton, 1) == [Skeleton(points=[(1.3, 2.0, 0.5)])]
    rotated = Rotated(np.array([[1, 2, 3, 4, 0.5], [5, 6, 7, 8, 0]], F4))
    expected = RotatedBox(x=1.0, y=2.0, width=3.0, height=4.0, angle_rad=0.5)
    assert shapes_of(rotated, 1) == [expected], "only for boxes above the threshold"
    square = Masks((np.ones((5, 5), np.uint8),), np.array([[10, 10]], F4), np.ones(2, F4))
    (outline,) = shapes_of(square, 1)
    assert isinstance(outline, Outline)
    assert set(outline.points) == {(10.5, 10.5), (14.5, 10.5), (10.5, 14.5), (14.5, 14.5)}
    assert shapes_of(None, 3) == []
    ranking = Ranking(np.array([4, 2], np.int32), np.array([0.7, 0.2], F4))
    assert (shapes_of(ranking, 1), [r.label for r in ranking_of(ranking)]) == ([], [4, 2])


def ragged_masks() -> Masks:
    noise = np.random.default_rng(0).random((100, 100)) > 0.2
    windows = (noise.astype(np.uint8),) * MAX_BOXES
    return Masks(windows, points(MAX_BOXES, 2) + F4(1234.5), np.full(2, 3.7, F4))


@pytest.mark.parametrize(
    "details",
    [
        Keypoints(points(MAX_BOXES, 17, 2) + F4(1234.5), points(MAX_BOXES, 17) + F4(0.123)),
        Keypoints(points(MAX_BOXES, 1000, 2) + F4(1234.5), points(MAX_BOXES, 1000)),
        Rotated(points(MAX_BOXES, 5) + F4(1234.5)),
        ragged_masks(),
    ],
)
def test_the_fullest_frame_fits_one_message(details: Details) -> None:
    box = Box(label=79, score=0.1234, x_min=1234.5, y_min=1.5, x_max=4321.1, y_max=2.2, track=10**6)
    result = FrameResult(
        camera="c" * 63,
        frame=2**40,
        captured_ms=2**45,
        captured_ns=2**60,
        finished_ns=2**60,
        width=10000,
        height=10000,
        boxes=[box] * MAX_BOXES,
        stages_ms=dict.fromkeys(("capture", "queue", "pre", "infer", "post", "publish"), 1.5),
        shapes=shapes_of(details, MAX_BOXES),
    )
    assert result.shapes
    assert len(msgspec.msgpack.encode(result)) < MAX_MESSAGE_BYTES
