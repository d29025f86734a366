"""Stable ids, and the life of an object as events."""

from itertools import pairwise

import numpy as np
import pytest

from agent.schema.messages import Event
from agent.vision.detector import Detected
from agent.vision.events import END_AFTER_MS, NEW_AFTER_SIGHTINGS, EventBook, Stage
from agent.vision.tracking import Sighting, Tracker

STAGE = Stage("d1", "door", "0123456789abcdef", "people 3", ["person", "dog"])
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


def seen(track: int = 1, score: float = 0.8, left: float = 0.0, label: int = 0) -> Sighting:
    return Sighting(track, label, score, (left, 0.0, left + 100.0, 100.0))


def tell(book: EventBook, start_ms: int, frames: int, sighting: Sighting) -> list[Event]:
    """One frame every 100 ms with the same sighting."""
    return [event for i in range(frames) for event in book.update([sighting], start_ms + 100 * i)]


def test_an_object_is_announced_once_it_was_seen_often_enough() -> None:
    book = EventBook(STAGE)
    assert tell(book, 0, NEW_AFTER_SIGHTINGS - 1, seen()) == []
    (event,) = book.update([seen(score=0.9)], 500)
    assert (event.type, event.label, event.camera, event.device) == ("new", "person", "door", "d1")
    assert (event.start_ms, event.at_ms, event.end_ms, event.release) == (0, 500, None, "people 3")
    assert event.top_score == 0.9


def test_a_flicker_is_no_event() -> None:
    book = EventBook(STAGE)
    book.update([seen()], 0)
    assert book.update([], END_AFTER_MS + 100) == []
    assert book.close(END_AFTER_MS + 200) == []


def test_an_object_ends_once_when_it_was_not_seen_for_a_while() -> None:
    book = EventBook(STAGE)
    (new,) = tell(book, 0, 5, seen())
    assert book.update([], 400 + END_AFTER_MS - 1) == []
    (end,) = book.update([], 400 + END_AFTER_MS)
    assert (end.type, end.id, end.end_ms) == ("end", new.id, 400)
    assert book.update([], 400 + 3 * END_AFTER_MS) == []


def test_a_short_gap_is_no_end() -> None:
    book = EventBook(STAGE)
    tell(book, 0, 5, seen())
    book.update([], 400 + END_AFTER_MS // 2)
    assert tell(book, 500 + END_AFTER_MS // 2, 3, seen()) == []


def test_an_object_that_stands_still_tells_nothing_new() -> None:
    book = EventBook(STAGE)
    assert [event.type for event in tell(book, 0, 50, seen())] == ["new"]


def test_an_object_that_moves_is_updated_at_most_once_a_second() -> None:
    book = EventBook(STAGE)
    events = [e for i in range(40) for e in book.update([seen(left=20.0 * i)], 100 * i)]
    assert [event.type for event in events] == ["new", "update", "update", "update"]
    times = [event.at_ms for event in events]
    assert all(later - earlier >= 1000 for earlier, later in pairwise(times))
    assert len({event.id for event in events}) == 1


def test_a_better_score_is_an_update() -> None:
    book = EventBook(STAGE)
    tell(book, 0, 5, seen(score=0.5))
    (event,) = book.update([seen(score=0.9)], 5000 - END_AFTER_MS)
    assert (event.type, event.top_score) == ("update", 0.9)


def test_all_open_objects_end_when_the_camera_closes() -> None:
    book = EventBook(STAGE)
    news = [event for i in range(3) for event in book.update([seen(1), seen(2, label=1)], 100 * i)]
    ends = book.close(300)
    assert {event.id for event in ends} == {event.id for event in news}
    assert [event.type for event in ends] == ["end", "end"]
    assert len({event.id for event in ends}) == 2


def test_boxes_without_a_track_are_no_objects() -> None:
    assert tell(EventBook(STAGE), 0, 10, seen(track=0)) == []
