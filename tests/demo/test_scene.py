from collections import Counter
from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
import pytest

from agent.demo.annotations import coco
from agent.demo.scene import CLASSES, Conveyor, Frame, Light, Part, belt, compose, still

DARK = belt(np.random.default_rng(1), 160, 120, grey=0.1)
NO_SHADOW = Light(shadow=0.0)


def changed(before: np.ndarray, after: np.ndarray) -> tuple[float, ...]:
    rows, columns = np.nonzero(np.abs(after - before).max(axis=2) > 0.02)
    return (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


def white(kind: int, x: float, y: float, size: float, angle: float, track_id: int = 0) -> Part:
    return Part(kind, x, y, size, angle, colour=(0.9, 0.9, 0.9), track_id=track_id)


@pytest.mark.parametrize("kind", range(len(CLASSES)), ids=CLASSES)
@pytest.mark.parametrize("angle", [0.0, 33.0, 190.0])
def test_the_box_of_a_lone_part_is_the_extent_of_what_it_changed(kind: int, angle: float) -> None:
    scene, (label,) = compose(DARK, [white(kind, 80.3, 60.7, 50.0, angle)], NO_SHADOW)
    assert label.kind == kind
    assert label.visible == 1.0
    assert label.box == pytest.approx(changed(DARK, scene), abs=1)


def test_the_longest_side_is_the_size_in_pixels() -> None:
    _, (label,) = compose(DARK, [white(0, 80.0, 60.0, 64.0, 0.0)], NO_SHADOW)
    assert label.box[2] - label.box[0] == pytest.approx(64, abs=1)
    assert (label.box[0] + label.box[2]) / 2 == pytest.approx(80, abs=0.5)


def test_a_part_over_the_edge_is_boxed_by_what_is_inside() -> None:
    scene, (label,) = compose(DARK, [white(3, 0.0, 60.0, 50.0, 0.0)], NO_SHADOW)
    assert label.box[0] == 0
    assert label.visible == pytest.approx(0.5, abs=0.05)
    assert label.box == pytest.approx(changed(DARK, scene), abs=1)


def test_a_hidden_side_is_left_out_of_the_box() -> None:
    below, above = white(2, 70.0, 60.0, 50.0, 0.0, 1), white(3, 110.0, 60.0, 90.0, 0.0, 2)
    _, alone = compose(DARK, [below], NO_SHADOW)
    _, labels = compose(DARK, [below, above], NO_SHADOW)
    covered = {label.track_id: label for label in labels}
    assert covered[1].box[0] == alone[0].box[0]
    assert covered[1].box[2] < alone[0].box[2] - 5
    assert covered[1].visible < 0.8
    assert covered[2].visible == 1.0


def test_a_part_out_of_sight_carries_no_label() -> None:
    parts = [
        white(1, 107.0, 63.0, 14.0, 0.0),  # under the gear
        white(3, 83.0, 63.0, 90.0, 0.0, 7),
        white(1, -18.0, 60.0, 40.0, 0.0),  # barely inside the image
        white(1, 500.0, 60.0, 40.0, 0.0),  # outside
    ]
    _, labels = compose(DARK, parts, NO_SHADOW)
    assert [label.track_id for label in labels] == [7]


def test_a_shadow_darkens_but_does_not_enlarge_the_box() -> None:
    part = white(2, 80.0, 60.0, 50.0, 0.0)
    plain, bare = compose(DARK, [part], NO_SHADOW)
    shaded, cast = compose(DARK, [part], replace(NO_SHADOW, shadow=0.6, reach=0.2))
    assert cast == bare
    assert shaded.mean() < plain.mean()


def test_a_seed_says_everything() -> None:
    one, again, other = still(7), still(7), still(8)
    assert np.array_equal(one.image, again.image)
    assert one.labels == again.labels
    assert not np.array_equal(one.image, other.image)


@pytest.mark.parametrize(("width", "height"), [(640, 360), (320, 320), (200, 333)])
def test_a_still_has_the_size_asked_for_and_boxes_inside_it(width: int, height: int) -> None:
    frame = still(3, width, height)
    assert frame.image.shape == (height, width, 3)
    assert frame.image.dtype == np.uint8
    for label in frame.labels:
        x0, y0, x1, y1 = label.box
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height


def test_stills_show_every_class_in_many_sizes_and_lights() -> None:
    frames = [still(seed, 320, 320) for seed in range(30)]
    labels = [label for frame in frames for label in frame.labels]
    sides = [max(label.box[2] - label.box[0], label.box[3] - label.box[1]) for label in labels]
    levels = [frame.image.mean() for frame in frames]
    assert {label.kind for label in labels} == set(range(len(CLASSES)))
    assert max(sides) > 3 * min(sides)
    assert max(levels) > 3 * min(levels)


def test_the_belt_repeats_without_a_seam() -> None:
    surface = belt(np.random.default_rng(2), 300, 80)
    steps = np.abs(np.diff(np.concatenate([surface, surface[:, :1]], axis=1), axis=1)).mean(
        axis=(0, 2)
    )
    assert steps[-1] < 2 * np.median(steps)


def test_the_conveyor_loops() -> None:
    conveyor = Conveyor()
    for index in (0, 131):
        now, later = conveyor.frame(index), conveyor.frame(index + conveyor.frames)
        assert np.array_equal(now.image, later.image)
        assert [label.box for label in now.labels] == [label.box for label in later.labels]


def belt_frames(start: int, end: int) -> list[Frame]:
    conveyor = Conveyor()
    return [conveyor.frame(index) for index in range(start, end)]


def test_objects_keep_their_ids_and_move_with_the_belt_also_over_the_end_of_a_turn() -> None:
    frames = belt_frames(292, 306)
    conveyor = Conveyor()
    step = conveyor.length / (conveyor.frames - (conveyor.halt[1] - conveyor.halt[0]))
    for before, after in pairwise(frames):
        assert max(Counter(label.track_id for label in after.labels).values()) == 1
        old = {label.track_id: label for label in before.labels}
        both = [label for label in after.labels if label.track_id in old]
        assert len(both) >= len(after.labels) - 2
        for label in both:
            then = old[label.track_id]
            assert label.kind == then.kind
            if label.visible > 0.99 and then.visible > 0.99:
                assert label.box[0] - then.box[0] == pytest.approx(step, abs=2)
                assert label.box[1] == pytest.approx(then.box[1], abs=1)


def test_every_passage_of_a_part_has_an_id_of_its_own() -> None:
    conveyor = Conveyor()
    first = {label.track_id for label in conveyor.frame(0).labels}
    last = {label.track_id for label in conveyor.frame(conveyor.frames).labels}
    assert first.isdisjoint(last)


def test_the_belt_halts_while_it_is_empty() -> None:
    conveyor = Conveyor()
    middle = sum(conveyor.halt) // 2
    one, two = conveyor.frame(middle), conveyor.frame(middle + 1)
    assert one.labels == two.labels == ()
    difference = cv2.GaussianBlur(cv2.absdiff(one.image, two.image), (0, 0), 5)
    assert difference.max() < 5


def test_in_the_glare_the_belt_is_far_brighter_than_ever_else() -> None:
    conveyor = Conveyor()
    sampled = range(0, conveyor.frames, 6)
    levels = np.array([conveyor.frame(index).image.mean() for index in sampled])
    gains = np.array([conveyor.light(index).gain for index in sampled])
    assert 2 <= 6 * np.count_nonzero(gains > 2) / conveyor.fps <= 3
    assert levels[gains > 2].min() > 1.5 * levels[gains < 1.4].max()


def test_the_ground_truth_counts_from_zero_and_holds_width_and_height() -> None:
    frame = still(11)
    truth = coco([frame, frame], "note")
    assert [image["id"] for image in truth["images"]] == [0, 1]
    assert [category["name"] for category in truth["categories"]] == list(CLASSES)
    assert len({annotation["id"] for annotation in truth["annotations"]}) == 2 * len(frame.labels)
    label, annotation = frame.labels[0], truth["annotations"][0]
    assert annotation["category_id"] == label.kind
    assert annotation["track_id"] == label.track_id
    x, y, width, height = annotation["bbox"]
    assert (x, y, x + width, y + height) == label.box
    assert annotation["area"] == width * height
