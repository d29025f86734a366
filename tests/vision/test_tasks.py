"""Pose, segmentation and OBB decoded by hand-computed cases."""

from math import pi

import numpy as np
import pytest

from agent.errors import ModelError
from agent.vision.details import Keypoints, Masks, Rotated
from agent.vision.families import open_decoder
from agent.vision.families.obb import probiou
from tests.vision.heads import (
    CLASSES,
    MASKS,
    OTHER,
    PERSON,
    SIDE,
    anchors,
    decode,
    final,
    head,
    prototypes,
)


@pytest.mark.parametrize("family", ["ultralytics", "ultralytics-e2e"])
def test_keypoints_stay_with_their_boxes(family: str) -> None:
    make = anchors if family == "ultralytics" else final
    found = decode("pose", [make(6, PERSON, OTHER)], family)
    assert found.labels.tolist() == [2, 1]
    assert found.xyxy.tolist() == [[40, 40, 48, 48], [15, 17, 25, 23]]
    assert isinstance(found.details, Keypoints)
    assert found.details.xy.tolist() == [[[41, 42], [46, 47]], [[18, 19], [22, 23]]]
    assert found.details.scores == pytest.approx(np.array([[0.7, 0.2], [0.9, 0.4]]))


def test_keypoints_of_suppressed_boxes_go_with_them() -> None:
    rival = (21, 20, 10, 6, 1, 0.8, 1, 2, 0.1, 3, 4, 0.2)
    found = decode("pose", [anchors(6, PERSON, rival)])
    assert isinstance(found.details, Keypoints)
    assert found.details.xy.tolist() == [[[1, 2], [3, 4]]]


def test_keypoints_without_scores_are_sure() -> None:
    decoder = open_decoder("ultralytics", head(keypoints=(2, 2)), "pose")
    found = decoder.decode([anchors(4, (20, 20, 8, 8, 0, 0.5, 1, 2, 3, 4))], 0.25, 0.6)
    assert isinstance(found.details, Keypoints)
    assert found.details.scores.tolist() == [[1, 1]]


def test_normalised_keypoints_become_pixels_but_their_scores_do_not() -> None:
    decoder = open_decoder("ultralytics", head(box_units="normalised"), "pose")
    row = (0.5, 0.5, 0.25, 0.25, 0, 0.5, 0.25, 0.5, 0.9, 0.75, 1.0, 0.8)
    found = decoder.decode([anchors(6, row)], 0.25, 0.6)
    assert isinstance(found.details, Keypoints)
    assert found.details.xy.tolist() == [[[16, 32], [48, 64]]]
    assert found.details.scores == pytest.approx(np.array([[0.9, 0.8]]))


def test_a_pose_model_that_does_not_say_its_points_asks_for_them() -> None:
    with pytest.raises(ModelError) as caught:
        open_decoder("ultralytics", head(keypoints=None), "pose")
    assert caught.value.code == "model.ambiguous"
    assert "--keypoints" in caught.value.hint


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("swapped", [False, True])
def test_a_mask_is_its_prototypes_inside_the_box(layout: str, *, swapped: bool) -> None:
    planes = prototypes() if layout == "nchw" else prototypes().transpose(0, 2, 3, 1)
    outputs = [anchors(MASKS, (32, 32, 40, 20, 0, 0.5, 0, 1, 0, 0)), planes]
    decoder = open_decoder("ultralytics", head(layout), "segment")
    found = decoder.decode(outputs[::-1] if swapped else outputs, 0.25, 0.6)
    assert isinstance(found.details, Masks)
    assert found.details.origins.tolist() == [[12, 22]]
    window = found.details.windows[0]
    assert window.shape == (20, 40)
    assert window[:, :20].all(), "the left half of the input is the object's"
    assert not window[:, 20:].any(), "the right half is not"


def test_masks_add_up_by_their_coefficients() -> None:
    row = (32, 32, 64, 64, 0, 0.5, -1.5, 1, 1, 0)  # -1.5 everywhere, +-1 left, +-1 above
    found = decode("segment", [anchors(MASKS, row), prototypes()])
    assert isinstance(found.details, Masks)
    window = found.details.windows[0]
    assert window[:30, :30].all()
    assert window.sum() == pytest.approx(32 * 32, rel=0.1)


def test_a_mask_equals_that_of_the_whole_input_scaled_up_and_cropped() -> None:
    rng = np.random.default_rng(5)
    planes = rng.normal(size=(1, MASKS, 16, 16)).astype(np.float32)
    weights = rng.normal(size=MASKS)
    whole = bilinear(np.tensordot(weights, planes[0], 1), 4) > 0
    for box in ((32, 32, 64, 64), (7.3, 60.1, 9.7, 6.2), (33.4, 20.2, 1.1, 50), (60, 3, 20, 20)):
        found = decode("segment", [anchors(MASKS, (*box, 0, 0.5, *weights)), planes])
        if not len(found.scores):
            continue
        assert isinstance(found.details, Masks)
        left, top = found.details.origins[0].astype(int)
        window = found.details.windows[0]
        rows, columns = window.shape
        assert (window == whole[top : top + rows, left : left + columns]).all()
        x_0, y_0, x_1, y_1 = found.xyxy[0].clip(0, SIDE)
        assert (left, top) == (np.ceil(x_0), np.ceil(y_0))
        assert (left + columns, top + rows) == (np.ceil(x_1), np.ceil(y_1))


def bilinear(plane: np.ndarray, factor: int) -> np.ndarray:
    """Scaled up with pixel centres kept in place and edges repeated, by the definition."""
    places = (np.arange(len(plane) * factor) + 0.5) / factor - 0.5
    places = places.clip(0, len(plane) - 1)
    low = np.floor(places).astype(int).clip(0, len(plane) - 2)
    share = places - low
    rows = plane[low] * (1 - share)[:, None] + plane[low + 1] * share[:, None]
    scaled: np.ndarray = rows[:, low] * (1 - share) + rows[:, low + 1] * share
    return scaled


def test_objects_without_a_pixel_are_dropped() -> None:
    empty = (20, 20, 10, 10, 0, 0.9, 0, 0, 0, 1)
    outside = (200, 200, 10, 10, 1, 0.8, 1, 0, 0, 0)
    seen = (40, 40, 10, 10, 2, 0.5, 1, 0, 0, 0)
    found = decode("segment", [anchors(MASKS, empty, outside, seen), prototypes()])
    assert found.labels.tolist() == [2]
    assert isinstance(found.details, Masks)
    assert found.details.origins.tolist() == [[35, 35]]


def test_end_to_end_masks_are_read_from_final_rows() -> None:
    row = (32, 32, 40, 20, 0, 0.5, 0, 1, 0, 0)
    found = decode("segment", [final(MASKS, row), prototypes()], "ultralytics-e2e")
    assert isinstance(found.details, Masks)
    assert found.details.windows[0].sum() == 20 * 20


def test_prototypes_of_another_number_than_coefficients_are_another_number_of_classes() -> None:
    with pytest.raises(ModelError, match="expected 3 classes") as caught:
        decode("segment", [anchors(MASKS), np.zeros((1, 6, 16, 16), np.float32)])
    assert caught.value.code == "model.classes"


@pytest.mark.parametrize("shape", [(1, MASKS, 15, 16), (2, MASKS, 16, 16), (MASKS, 16, 16)])
def test_prototypes_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError) as caught:
        decode("segment", [anchors(MASKS), np.zeros(shape, np.float32)])
    assert caught.value.code == "model.shape"


def test_prototypes_that_are_not_finite_are_refused() -> None:
    row = (32, 32, 40, 20, 0, 0.5, 1, 0, 0, 0)
    with pytest.raises(ModelError) as caught:
        decode("segment", [anchors(MASKS, row), np.full((1, MASKS, 16, 16), np.nan, np.float32)])
    assert caught.value.code == "model.not_finite"


@pytest.mark.parametrize("family", ["ultralytics", "ultralytics-e2e"])
def test_a_rotated_box_has_the_angle_of_its_candidate(family: str) -> None:
    row = (30, 30, 20, 10, 1, 0.5, pi / 2)
    output = anchors(1, row) if family == "ultralytics" else final(1, row, centred=True)
    found = decode("obb", [output], family)
    assert isinstance(found.details, Rotated)
    assert found.details.xywhr == pytest.approx(np.array([[30, 30, 20, 10, pi / 2]]))
    assert found.xyxy == pytest.approx(np.array([[25, 20, 35, 40]]), abs=1e-4)
    corners = {tuple(np.rint(corner).tolist()) for corner in found.details.corners()[0]}
    assert corners == {(25, 20), (35, 20), (25, 40), (35, 40)}


def test_a_diagonal_box_is_bounded_by_its_corners() -> None:
    found = decode("obb", [anchors(1, (30, 30, 20, 0.02, 1, 0.5, pi / 4))])
    reach = 10 / np.sqrt(2)
    expected = [[30 - reach, 30 - reach, 30 + reach, 30 + reach]]
    assert found.xyxy == pytest.approx(np.array(expected), abs=0.02)


def test_crossing_boxes_are_two_objects_and_the_same_box_turned_half_round_is_one() -> None:
    crossing = [anchors(1, (30, 30, 30, 4, 1, 0.5, 0), (30, 30, 30, 4, 1, 0.8, pi / 2))]
    assert len(decode("obb", crossing).scores) == 2, "an upright overlap of 1 is no rotated overlap"
    turned = [anchors(1, (30, 30, 30, 4, 1, 0.5, -pi / 4), (30, 30, 30, 4, 1, 0.8, 3 * pi / 4))]
    assert decode("obb", turned).scores.tolist() == pytest.approx([0.8])
    classes = [anchors(1, (30, 30, 30, 4, 1, 0.5, 0), (30, 30, 30, 4, 2, 0.8, 0))]
    assert len(decode("obb", classes).scores) == 2


def test_probiou_is_one_minus_the_hellinger_distance_of_the_gaussians() -> None:
    left = np.array([[0, 0, 6, 2, 0.3]])
    right = np.array([[1, 0.5, 4, 3, -0.2], [0, 0, 6, 2, 0.3], [500, 0, 6, 2, 0]])
    measured = probiou(left, right)[0]
    assert measured[0] == pytest.approx(1 - hellinger(left[0], right[0]), abs=1e-4)
    assert measured[1] == pytest.approx(1, abs=1e-3)
    assert measured[2] == pytest.approx(0, abs=1e-3)


def hellinger(left: np.ndarray, right: np.ndarray) -> float:
    """By the definition: the integral of (sqrt p - sqrt q)^2 / 2 over the plane, on a grid."""
    step = 0.02
    x, y = np.meshgrid(np.arange(-12, 12, step), np.arange(-12, 12, step))
    roots = []
    for cx, cy, width, height, angle in (left, right):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        covariance = turn @ np.diag([width**2 / 12, height**2 / 12]) @ turn.T
        offsets = np.stack([x - cx, y - cy], axis=-1)
        powers = np.einsum("...i,ij,...j->...", offsets, np.linalg.inv(covariance), offsets)
        density = np.exp(-powers / 2) / (2 * pi * np.sqrt(np.linalg.det(covariance)))
        roots.append(np.sqrt(density))
    return float(np.sqrt(((roots[0] - roots[1]) ** 2).sum() * step**2 / 2))


def test_thousands_of_rotated_candidates_are_suppressed_block_by_block() -> None:
    rng = np.random.default_rng(1)
    output = np.zeros((1, 5 + CLASSES, 5000), np.float32)
    output[0, :2] = rng.uniform(0, SIDE, (2, 5000))
    output[0, 2:4] = rng.uniform(2, 20, (2, 5000))
    output[0, 4] = rng.uniform(0.001, 0.04, 5000)
    output[0, -1] = rng.uniform(-pi / 4, 3 * pi / 4, 5000)
    found = open_decoder("ultralytics", head(), "obb").decode([output], 0.001, 0.3)
    assert isinstance(found.details, Rotated)
    overlaps = probiou(*[found.details.xywhr.astype(float)] * 2)
    np.fill_diagonal(overlaps, 0)
    assert (overlaps <= 0.3).all()
    assert (np.diff(found.scores) <= 0).all()
