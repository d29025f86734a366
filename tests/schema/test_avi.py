"""Films: what is written is read again, by us and by OpenCV's FFmpeg; damaged files are refused in one way."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.schema.avi import Film, read_avi, write_avi
from agent.schema.document import Malformed


def film(count: int = 5) -> Film:
    pictures = [np.full((48, 64, 3), 40 * number, np.uint8) for number in range(count)]
    return Film([cv2.imencode(".jpg", one)[1].tobytes() for one in pictures], 64, 48, 5.0)


def test_a_film_comes_back_as_it_was() -> None:
    made = film()
    read = read_avi(write_avi(made))
    assert (read.frames, read.width, read.height) == (made.frames, 64, 48)
    assert read.fps == pytest.approx(5.0)


def test_others_can_play_it(tmp_path: Path) -> None:
    path = tmp_path / "clip.avi"
    path.write_bytes(write_avi(film()))
    video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    assert video.get(cv2.CAP_PROP_FPS) == pytest.approx(5.0)
    levels = []
    while (read := video.read())[0]:
        levels.append(round(float(read[1].mean())))
    assert levels == pytest.approx([0, 40, 80, 120, 160], abs=2)


@given(st.integers(0, 5000), st.binary(max_size=64))
def test_a_damaged_film_is_malformed_or_a_film(place: int, junk: bytes) -> None:
    data = write_avi(film(3))
    damaged = data[:place] + junk + data[place + len(junk) :]
    for attempt in (damaged, data[:place], junk):
        try:
            read = read_avi(attempt)
        except Malformed:
            continue
        assert all(isinstance(frame, bytes) for frame in read.frames)
