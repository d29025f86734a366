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
        tracks.append(tracker.update(frame, step * STEP_NS, 1280)[0].track)
    return tracks


@pytest.mark.parametrize("speed", [0, 10, 30, 45])
def test_an_object_keeps_its_id_while_it_moves(speed: float) -> None:
    assert set(walk(Tracker(0.25), 25, speed)) == {1}


def test_two_objects_have_two_ids_and_keep_them_when_listed_in_another_order() -> None:
    tracker = Tracker(0.25)
    left, right = (0, 0.9, 10, 10, 100, 200), (0, 0.8, 300, 10, 390, 200)
    ids = [seen.track for seen in tracker.update(detected(left, right), 0, 640)]
    assert len(set(ids)) == 2
    swapped = [seen.track for seen in tracker.update(detected(right, left), STEP_NS, 640)]
    assert swapped == ids[::-1]


def test_objects_of_two_classes_never_share_an_id() -> None:
    tracker = Tracker(0.25)
    first = tracker.update(detected((0, 0.9, 10, 10, 100, 200)), 0, 640)
    second = tracker.update(detected((1, 0.9, 10, 10, 100, 200)), STEP_NS, 640)
    assert first[0].track != second[0].track
    assert second[0].box == (10, 10, 100, 200)


def test_a_faint_box_continues_a_track_but_begins_none() -> None:
    tracker = Tracker(0.25)
    faint = detected((0, 0.15, 10, 10, 100, 200))
    assert tracker.update(faint, 0, 640)[0].track == 0
    known = tracker.update(detected((0, 0.9, 10, 10, 100, 200)), STEP_NS, 640)[0].track
    assert tracker.update(faint, 2 * STEP_NS, 640)[0].track == known > 0


def test_an_empty_frame_is_a_frame() -> None:
    tracker = Tracker(0.25)
    assert tracker.update(detected(), 0, 640) == []
    assert walk(tracker, 1, 0) == [1]
