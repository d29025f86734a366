"""Recordings as live sources: which frame is shown when, by a clock that is moved by hand."""

import time
from pathlib import Path

import cv2
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agent.vision.cameras import Camera, open_camera
from agent.vision.cameras.pace import Pace
from tests.vision.filming import FPS, FRAMES, Hand, setup, shown

fps = st.floats(0.1, 1000)
epochs = st.integers(0, 2**55)


@given(fps, epochs, st.integers(0, 10**6))
def test_a_tick_is_shown_when_it_is_due_and_not_before(rate: float, epoch: int, tick: int) -> None:
    pace = Pace(rate, epoch)
    due = pace.due_ns(tick)
    assert pace.tick(due) == tick
    assert tick == 0 or pace.tick(due - 2) == tick - 1


@given(fps, epochs, st.integers(0, 2**45), st.integers(-1, 1000))
def test_no_tick_is_shown_twice_and_late_readers_skip(
    rate: float, epoch: int, later: int, last: int
) -> None:
    pace = Pace(rate, epoch)
    assert pace.next_tick(last, epoch + later) == max(pace.tick(epoch + later), last + 1)


def test_a_file_is_shown_from_where_it_would_be_by_now(film: Path) -> None:
    hand = Hand(0.5)
    camera = open_camera(setup(film, hand=hand))
    camera.open()
    assert shown_over_time(camera, hand, 3, 1 / FPS) == [10, 11, 12]
    camera.close()


def test_two_readers_with_one_epoch_show_the_same_frame(film: Path) -> None:
    for at_s in (0.2, 0.23, 0.7):
        cameras = [open_camera(setup(film, hand=Hand(at_s))) for _ in range(2)]
        for camera in cameras:
            camera.open()
        assert {shown(camera.read()) for camera in cameras} == {int(at_s * FPS)}


def test_a_reader_that_was_slow_skips_to_the_present(film: Path) -> None:
    hand = Hand()
    camera = open_camera(setup(film, hand=hand))
    camera.open()
    assert shown_over_time(camera, hand, 3, 0.3) == [0, 6, 12]


def test_a_frame_that_is_not_due_is_waited_for(film: Path) -> None:
    camera = open_camera(setup(film, hand=Hand()))
    camera.open()
    before_s = time.monotonic()
    assert [shown(camera.read()) for _ in range(2)] == [0, 1]
    assert time.monotonic() - before_s >= 1 / FPS


def test_a_file_starts_again_at_its_end(film: Path) -> None:
    hand = Hand((FRAMES - 2) / FPS)
    camera = open_camera(setup(film, hand=hand))
    camera.open()
    assert shown_over_time(camera, hand, 5, 1 / FPS) == [FRAMES - 2, FRAMES - 1, 0, 1, 2]


def test_a_file_ends_where_it_shall_not_loop(film: Path) -> None:
    camera = open_camera(setup(film, hand=Hand(10.0), loop=False))
    camera.open()
    assert camera.read() is None


def test_a_cap_on_the_frame_rate_leaves_the_films_speed_alone(film: Path) -> None:
    hand = Hand()
    camera = open_camera(setup(film, hand=hand, fps=5.0))
    camera.open()
    assert shown_over_time(camera, hand, 3, 0.2) == [0, 4, 8]


def test_a_folder_shows_its_pictures_by_name(tmp_path: Path) -> None:
    for number in (2, 0, 1):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((8, 8, 3), 8 * number, np.uint8))
    (tmp_path / "notes.txt").write_text("no picture")
    hand = Hand()
    camera = open_camera(setup(tmp_path, hand=hand, fps=4.0))
    camera.open()
    assert shown_over_time(camera, hand, 4, 0.25) == [0, 1, 2, 0]


def shown_over_time(camera: Camera, hand: Hand, times: int, step_s: float) -> list[int]:
    """What an open camera shows now and after each step of its clock."""
    numbers = []
    for _ in range(times):
        frame = camera.read()
        assert shown(frame) == (frame and frame.index)
        numbers.append(shown(frame))
        hand.at_s += step_s
    return numbers
