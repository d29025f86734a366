"""Zones and lines: paths that are walked by hand, and what they cause."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.schema.events import PlaceAction
from agent.schema.zones import Anchor, LineConfig, Places, SpeedConfig, ZoneConfig
from agent.vision.geometry import inside
from agent.vision.zones import Notice, Seen, ZoneBook

SQUARE = [(0.4, 0.4), (0.6, 0.4), (0.6, 0.6), (0.4, 0.6)]
ZONE = ZoneConfig(name="porch", polygon=SQUARE, inertia=2)
# From top to bottom: its right, seen by who looks along it, is the picture's left.
GATE = LineConfig(name="gate", start=(0.5, 0.0), end=(0.5, 1.0))


def at(x: float, y: float = 0.5, track: int = 1, label: str = "person", score: float = 0.9) -> Seen:
    """An object whose box stands on (x, y)."""
    return Seen(track, label, score, (x - 0.05, y - 0.2, x + 0.05, y), confirmed=True)


def walk(
    book: ZoneBook, *places: Seen, step_ms: float = 100.0, start_ms: float = 0.0
) -> list[Notice]:
    return [
        notice
        for number, place in enumerate(places)
        for notice in book.update([place], start_ms + number * step_ms)
    ]


def zones(*entries: ZoneConfig) -> ZoneBook:
    return ZoneBook(Places(entries, (), (), ()))


def lines(*entries: LineConfig, speeds: tuple[SpeedConfig, ...] = ()) -> ZoneBook:
    return ZoneBook(Places((), entries, speeds, ()))


def actions(notices: list[Notice]) -> list[str]:
    return [notice.action.value for notice in notices]


def test_an_object_enters_and_leaves_and_its_stay_is_timed_from_border_to_border() -> None:
    book = zones(ZONE)
    path = [at(0.1), at(0.5), at(0.5), at(0.5), at(0.5), at(0.9), at(0.9)]
    enter, leave = walk(book, *path)
    assert (enter.action, enter.place, enter.count) == (PlaceAction.ENTER, "porch", 1)
    assert (leave.action, leave.dwell_ms, leave.count) == (PlaceAction.LEAVE, 400, 0)


def test_an_object_that_jitters_on_the_border_neither_enters_nor_leaves() -> None:
    book = zones(ZONE)
    jitter = [at(0.39), at(0.41)] * 20
    assert walk(book, *jitter) == []
    entered = walk(book, at(0.5), at(0.5))
    assert actions(entered) == ["enter"]
    assert walk(book, *[at(0.61), at(0.59)] * 20) == []


def test_one_that_appears_inside_has_entered() -> None:
    assert actions(walk(zones(ZONE), at(0.5), at(0.5))) == ["enter"]


def test_one_that_is_gone_leaves_its_zones() -> None:
    book = zones(ZONE)
    walk(book, at(0.5), at(0.5))
    (leave,) = book.forget(1, 900.0)
    assert (leave.action, leave.dwell_ms) == (PlaceAction.LEAVE, 900)
    assert book.zone_reports()[0].occupancy == {}
    assert book.forget(1, 1000.0) == []


def test_loitering_is_told_once_a_stay() -> None:
    book = zones(ZoneConfig(name="porch", polygon=SQUARE, inertia=1, loiter_s=1.0))
    notices = walk(book, *[at(0.5)] * 30)
    assert actions(notices) == ["enter", "loiter"]
    assert notices[1].dwell_ms == 1000
    again = walk(book, at(0.9), *[at(0.5)] * 12, start_ms=3000)
    assert actions(again) == ["leave", "enter", "loiter"]


def test_occupancy_counts_objects_by_class_and_entries_add_up() -> None:
    book = zones(ZONE)
    for number in range(3):
        book.update([at(0.5), at(0.45, track=2), at(0.55, track=3, label="dog")], number * 100.0)
    (report,) = book.zone_reports()
    assert (report.occupancy, report.entered) == ({"person": 2, "dog": 1}, 3)


def test_labels_and_scores_filter() -> None:
    picky = ZoneConfig(name="porch", polygon=SQUARE, inertia=1, labels=["dog"], min_score=0.5)
    assert walk(zones(picky), *[at(0.5)] * 5) == []
    assert walk(zones(picky), *[at(0.5, label="dog", score=0.4)] * 5) == []
    assert actions(walk(zones(picky), at(0.5, label="dog", score=0.6))) == ["enter"]


def test_the_anchor_is_where_the_object_stands_or_its_middle() -> None:
    feet_in = at(0.5, 0.45)
    middle = ZoneConfig(name="porch", polygon=SQUARE, inertia=1, anchor=Anchor.CENTER)
    feet = ZoneConfig(name="porch", polygon=SQUARE, inertia=1)
    assert walk(zones(middle), feet_in) == []
    assert actions(walk(zones(feet), feet_in)) == ["enter"]


def test_one_that_is_no_event_yet_does_nothing_until_it_is() -> None:
    book = ZoneBook(Places((ZONE,), (GATE,), (), ()))
    early = [at(x)._replace(confirmed=False) for x in (0.41, 0.45, 0.52)]
    assert walk(book, *early) == []
    assert actions(walk(book, at(0.55), start_ms=300)) == ["enter", "cross"]


@pytest.mark.parametrize(("path", "direction"), [((0.6, 0.4), "forward"), ((0.4, 0.6), "backward")])
def test_a_line_is_crossed_in_a_direction(path: tuple[float, float], direction: str) -> None:
    book = lines(GATE)
    (cross,) = walk(book, *[at(x) for x in path])
    assert (cross.action, cross.place, cross.direction) == (PlaceAction.CROSS, "gate", direction)
    (report,) = book.line_reports()
    assert {"forward": report.forward, "backward": report.backward}[direction] == 1


def test_a_path_beside_the_lines_end_does_not_cross_it() -> None:
    short = LineConfig(name="gate", start=(0.5, 0.6), end=(0.5, 1.0))
    assert walk(lines(short), at(0.4, 0.3), at(0.6, 0.3)) == []
    assert actions(walk(lines(short), at(0.4, 0.8), at(0.6, 0.8))) == ["cross"]


def test_trembling_on_a_line_is_no_crossing() -> None:
    book = lines(GATE)
    assert walk(book, at(0.45), *[at(0.499), at(0.501)] * 20) == []
    assert actions(walk(book, at(0.55))) == ["cross"]


def test_several_objects_cross_at_once() -> None:
    book = lines(GATE)
    book.update([at(0.4), at(0.6, track=2)], 0.0)
    notices = book.update([at(0.6), at(0.4, track=2)], 100.0)
    assert {(one.track, one.direction) for one in notices} == {(1, "backward"), (2, "forward")}


def test_speed_is_distance_over_the_time_between_two_lines() -> None:
    # 0.1 of the picture each 100 ms: the lines are 0.45 apart, which is 450 ms, not a whole number of frames.
    first = LineConfig(name="first", start=(0.25, 1.0), end=(0.25, 0.0))
    second = LineConfig(name="second", start=(0.7, 1.0), end=(0.7, 0.0))
    speed = SpeedConfig(name="drive", first="first", second="second", distance_m=9.0)
    book = lines(first, second, speeds=(speed,))
    notices = walk(book, *[at(0.08 + 0.1 * step) for step in range(9)])
    assert actions(notices) == ["cross", "cross", "speed"]
    assert notices[2].speed_m_s == pytest.approx(20.0, rel=0.01)
    assert (notices[2].direction, notices[2].place) == ("forward", "drive")


def test_the_way_back_is_another_direction_and_a_turn_between_the_lines_no_speed() -> None:
    first = LineConfig(name="first", start=(0.3, 1.0), end=(0.3, 0.0))
    second = LineConfig(name="second", start=(0.7, 1.0), end=(0.7, 0.0))
    speed = SpeedConfig(name="drive", first="first", second="second", distance_m=4.0)
    book = lines(first, second, speeds=(speed,))
    back = walk(book, at(0.9), at(0.5), at(0.1))
    assert (back[-1].action, back[-1].direction) == (PlaceAction.SPEED, "backward")
    turned = walk(book, at(0.1, track=2), at(0.5, track=2), at(0.1, track=2), start_ms=1000)
    assert actions(turned) == ["cross", "cross"]


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=20),
    st.floats(0.05, 0.45),
)
def test_membership_of_a_rectangle_is_what_comparing_sides_says(
    points: list[tuple[float, float]], margin: float
) -> None:
    low, high = margin, 1 - margin
    corners = np.array([(low, low), (high, low), (high, high), (low, high)])
    found = inside(np.array(points), corners)
    for (x, y), is_in in zip(points, found.tolist(), strict=True):
        on_edge = any(abs(side - edge) < 1e-9 for side in (x, y) for edge in (low, high))
        assert on_edge or is_in == (low < x < high and low < y < high)
