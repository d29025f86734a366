"""The life of an object as events."""

from itertools import pairwise
from typing import Any

import pytest

from agent.schema.events import Event
from agent.schema.recording import EventConfig
from agent.vision.events import EventBook, FrameClock, Life, Moment, Stage
from agent.vision.tracking import Sighting

STAGE = Stage("d1", "door", "0123456789abcdef", "people 3", ["person", "dog"])
CONFIG = EventConfig()
END_AFTER_MS = int(CONFIG.end_after_s * 1000)


class Camera:
    """A book whose frames are given by hand; the frame clock and the wall clock agree."""

    def __init__(self, **config: Any) -> None:
        self.book = EventBook(STAGE, EventConfig(**config))
        self.book.size = (640, 360)
        self.lives: list[Life] = []

    def frame(self, at_ms: int, *sightings: Sighting) -> list[Event]:
        now = Moment(at_ms, float(at_ms))
        self.lives = self.book.see(sightings, now)
        told = [event for life in self.lives if (event := self.book.tell(life, now))]
        return told + self._ends(self.book.gone(now), at_ms)

    def frames(self, start_ms: int, count: int, sighting: Sighting) -> list[Event]:
        """One frame every 100 ms with the same sighting."""
        return [one for i in range(count) for one in self.frame(start_ms + 100 * i, sighting)]

    def close(self, at_ms: int) -> list[Event]:
        return self._ends(self.book.everybody(), at_ms)

    def _ends(self, lives: list[Life], at_ms: int) -> list[Event]:
        return [event for life in lives if (event := self.book.end(life, at_ms))]


def seen(track: int = 1, score: float = 0.8, left: float = 0.0, label: int = 0) -> Sighting:
    return Sighting(track, label, score, (left, 0.0, left + 100.0, 100.0))


def test_an_object_is_announced_once_it_was_seen_often_enough() -> None:
    camera = Camera()
    assert camera.frames(0, CONFIG.min_frames - 1, seen()) == []
    (event,) = camera.frame(500, seen(score=0.9))
    assert (event.type, event.label, event.camera, event.device) == ("new", "person", "door", "d1")
    assert (event.start_ms, event.at_ms, event.end_ms, event.release) == (0, 500, None, "people 3")
    assert (event.top_score, event.before) == (0.9, None)
    assert (event.width, event.height, event.area) == (640, 360, 10000.0)


def test_a_flicker_is_no_event() -> None:
    camera = Camera()
    camera.frame(0, seen())
    assert camera.frame(END_AFTER_MS + 100) == []
    assert camera.close(END_AFTER_MS + 200) == []


def test_an_object_that_is_never_sure_enough_is_no_event() -> None:
    camera = Camera(min_score=0.5)
    assert camera.frames(0, 20, seen(score=0.4)) == []
    assert [event.type for event in camera.frame(2000, seen(score=0.6))] == ["new"]


def test_only_the_wanted_classes_make_events() -> None:
    camera = Camera(labels=["dog"])
    assert camera.frames(0, 5, seen()) == []
    assert [event.label for event in camera.frames(500, 5, seen(2, label=1))] == ["dog"]


def test_an_object_ends_once_when_it_was_not_seen_for_a_while() -> None:
    camera = Camera()
    (new,) = camera.frames(0, 5, seen())
    assert camera.frame(400 + END_AFTER_MS - 1) == []
    (end,) = camera.frame(400 + END_AFTER_MS)
    assert (end.type, end.id, end.end_ms) == ("end", new.id, 400)
    assert camera.frame(400 + 3 * END_AFTER_MS) == []


def test_a_short_gap_is_no_end() -> None:
    camera = Camera()
    camera.frames(0, 5, seen())
    camera.frame(400 + END_AFTER_MS // 2)
    assert camera.frames(500 + END_AFTER_MS // 2, 3, seen()) == []


def test_an_object_that_stands_still_tells_only_that_it_came_to_rest() -> None:
    events = Camera(stationary_after_s=3.0).frames(0, 80, seen())
    assert [(event.type, event.stationary) for event in events] == [
        ("new", False),
        ("update", True),
    ]
    assert events[1].at_ms == 3000
    assert events[1].position_changes == 0


def test_an_object_that_moves_on_after_a_rest_is_told_and_counted() -> None:
    camera = Camera(stationary_after_s=3.0)
    camera.frames(0, 50, seen())
    events = camera.frames(5000, 20, seen(left=80.0))
    assert [(event.stationary, event.position_changes) for event in events] == [(False, 1)]
    assert events[0].before is not None
    assert events[0].before.stationary


def test_an_object_that_moves_is_updated_at_most_once_a_second() -> None:
    camera = Camera()
    events = [one for i in range(40) for one in camera.frame(100 * i, seen(left=20.0 * i))]
    assert [event.type for event in events] == ["new", "update", "update", "update"]
    times = [event.at_ms for event in events]
    assert all(later - earlier >= 1000 for earlier, later in pairwise(times))
    assert len({event.id for event in events}) == 1


def test_every_event_says_what_the_one_before_it_said() -> None:
    camera = Camera()
    events = [one for i in range(40) for one in camera.frame(100 * i, seen(left=20.0 * i))]
    for earlier, later in pairwise([*events, *camera.close(4000)]):
        assert later.before is not None
        assert (later.before.box, later.before.at_ms) == (earlier.box, earlier.at_ms)


def test_a_change_of_zone_is_told_at_once() -> None:
    camera = Camera()
    camera.frames(0, 3, seen())
    camera.lives[0].zones = ["porch"]
    (event,) = camera.frame(300, seen())
    assert (event.type, event.current_zones) == ("update", ["porch"])


def test_a_better_score_is_an_update() -> None:
    camera = Camera()
    camera.frames(0, 5, seen(score=0.5))
    (event,) = camera.frame(END_AFTER_MS - 100, seen(score=0.9))
    assert (event.type, event.top_score) == ("update", 0.9)


def test_all_open_objects_end_when_the_camera_closes() -> None:
    camera = Camera()
    news = [one for i in range(3) for one in camera.frame(100 * i, seen(1), seen(2, label=1))]
    ends = camera.close(300)
    assert {event.id for event in ends} == {event.id for event in news}
    assert [event.type for event in ends] == ["end", "end"]
    assert len({event.id for event in ends}) == 2


def test_boxes_without_a_track_are_no_objects() -> None:
    assert Camera().frames(0, 10, seen(track=0)) == []


@pytest.mark.parametrize("pause_s", [5, 3600])
def test_a_camera_that_pauses_ends_nothing(pause_s: int) -> None:
    clock = FrameClock()
    before = clock.at(10**9)
    assert clock.at(10**9 + 10**8) - before == pytest.approx(100)
    assert clock.at((pause_s + 2) * 10**9) - before < END_AFTER_MS
