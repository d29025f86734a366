"""Stable ids over frames."""

import numpy as np
import pytest

from agent.vision.detector import Detected
from agent.vision.tracking import Tracker

STEP_NS = 100_000_000


def detected(*rows: tuple[int, float, float, float, float, float]) -> Detected:
    """Rows of (label, score, x_min, y_min, x_max, y_max)."""
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Detected(table[:, 2:].copy(), table[:, 1].copy(), table[:, 0].astype(np.int32), {})


def walk(tracker: Tracker, steps: int, speed: float, score: float = 0.9) -> list[int]:
    tracks = []
    for step in range(steps):
        left = 10 + step * speed
        frame = detected((0, score, left, 10, left + 90, 200))
        tracks.append(tracker.update(frame, step * STEP_NS)[0].track)
    return tracks


@pytest.mark.parametrize("speed", [0, 10, 30, 45])
def test_an_object_keeps_its_id_while_it_moves(speed: float) -> None:
    assert set(walk(Tracker(0.25), 25, speed)) == {1}


def test_two_objects_have_two_ids_and_keep_them_when_listed_in_another_order() -> None:
    tracker = Tracker(0.25)
    left, right = (0, 0.9, 10, 10, 100, 200), (0, 0.8, 300, 10, 390, 200)
    ids = [seen.track for seen in tracker.update(detected(left, right), 0)]
    assert len(set(ids)) == 2
    swapped = [seen.track for seen in tracker.update(detected(right, left), STEP_NS)]
    assert swapped == ids[::-1]


def classes(tracker: Tracker, *opinions: tuple[int, float]) -> list[int]:
    """What one object is taken for, frame by frame, where the model sees each (class, score)."""
    seen = [
        tracker.update(detected((label, score, 10, 10, 100, 200)), step * STEP_NS)[0]
        for step, (label, score) in enumerate(opinions)
    ]
    assert {one.track for one in seen} == {1}
    return [one.label for one in seen]


def test_a_class_that_flickers_changes_neither_id_nor_class() -> None:
    assert classes(Tracker(0.25), (3, 0.8), (1, 0.5), (3, 0.6), (1, 0.7)) == [3, 3, 3, 3]


def test_a_surer_class_outvotes_one_that_was_seen_more_often() -> None:
    assert classes(Tracker(0.25), (3, 0.3), (3, 0.3), (1, 0.9)) == [3, 3, 1]


def test_what_was_seen_long_ago_counts_for_less() -> None:
    opinions = [(3, 0.9)] * 60 + [(1, 0.9)] * 40
    assert classes(Tracker(0.25), *opinions)[-1] == 1


def test_two_opinions_on_one_object_are_one_track() -> None:
    tracker = Tracker(0.25)
    both = detected((3, 0.8, 10, 10, 100, 200), (1, 0.6, 12, 10, 102, 198))
    surer, other = tracker.update(both, 0)
    assert (surer.track, surer.label) == (1, 3)
    assert (other.track, other.label, other.box) == (0, 1, (12, 10, 102, 198))


def test_two_objects_of_two_classes_side_by_side_are_two_tracks() -> None:
    tracker = Tracker(0.25)
    rider = detected((0, 0.8, 10, 10, 100, 200), (1, 0.7, 5, 100, 110, 260))
    for step in range(5):
        assert [one.track for one in tracker.update(rider, step * STEP_NS)] == [1, 2]


def test_a_faint_box_continues_a_track_but_begins_none() -> None:
    tracker = Tracker(0.25)
    faint = detected((0, 0.15, 10, 10, 100, 200))
    assert tracker.update(faint, 0)[0].track == 0
    known = tracker.update(detected((0, 0.9, 10, 10, 100, 200)), STEP_NS)[0].track
    assert tracker.update(faint, 2 * STEP_NS)[0].track == known > 0


def test_an_empty_frame_is_a_frame() -> None:
    tracker = Tracker(0.25)
    assert tracker.update(detected(), 0) == []
    assert walk(tracker, 1, 0) == [1]
