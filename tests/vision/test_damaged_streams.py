"""Streams as they should not be: cut off, without a rate, changing their size, with B-frames, huge."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from agent.vision.cameras import open_camera
from tests.parts.streams import HttpServer, encoded, wait_for
from tests.vision.filming import Filming, setup


def sizes_of(path: Path) -> list[tuple[int, int]]:
    """Sizes of all pictures that a camera gives of a film, one after the other, without doubles."""
    camera = open_camera(setup(path, paced=False, loop=False))
    camera.open()
    sizes: list[tuple[int, int]] = []
    for _ in range(200):
        frame = camera.read()
        if frame is None:
            break
        size = (frame.image.shape[1], frame.image.shape[0])
        sizes += [] if sizes[-1:] == [size] else [size]
    camera.close()
    return sizes


def test_a_stream_that_changes_its_size_is_read_on(tmp_path: Path) -> None:
    data = encoded(tmp_path / "two.ts", [(64, 48), (128, 96)])
    server = HttpServer({"/live.ts": lambda: iter([data])})
    camera = open_camera(setup(f"http://127.0.0.1:{server.port}/live.ts"))
    camera.open()
    frames = [frame for _ in range(38) if (frame := camera.read())]
    camera.close()
    server.close()
    # OpenCV goes on in the size that the stream had when it was opened.
    assert {frame.image.shape[:2] for frame in frames} == {(48, 64)}
    greys = [round(float(frame.image.mean()) / 8) for frame in frames]
    assert greys == [*range(20), *range(18)]


@pytest.mark.parametrize("kept", [0.3, 0.7])
def test_a_film_that_was_cut_off_gives_what_it_has(tmp_path: Path, kept: float) -> None:
    data = encoded(tmp_path / "cut.ts", [(320, 240)])
    (tmp_path / "cut.ts").write_bytes(data[: int(kept * len(data))])
    assert sizes_of(tmp_path / "cut.ts") == [(320, 240)]


def test_a_film_with_b_frames_is_shown_in_order(tmp_path: Path) -> None:
    encoded(tmp_path / "b.mp4", [(64, 48)], bf="2", preset="veryfast")
    camera = open_camera(setup(tmp_path / "b.mp4", paced=False, loop=False))
    camera.open()
    shown = [frame.image.mean() for _ in range(20) if (frame := camera.read())]
    assert shown == sorted(shown)
    assert len(shown) == 20
    camera.close()


def test_a_film_of_4k_is_read(tmp_path: Path) -> None:
    encoded(tmp_path / "large.mp4", [(3840, 2160)], frames=2)
    assert sizes_of(tmp_path / "large.mp4") == [(3840, 2160)]


def test_a_film_without_rate_and_length_is_read_to_its_end(tmp_path: Path) -> None:
    """Bare H.264 without a container."""
    encoded(tmp_path / "bare.h264", [(64, 48)])
    assert sizes_of(tmp_path / "bare.h264") == [(64, 48)]
    camera = open_camera(setup(tmp_path / "bare.h264", paced=False, loop=False))
    camera.open()
    assert len(list(iter(camera.read, None))) == 20
    camera.close()


def test_a_stream_with_bytes_turned_over_is_survived(tmp_path: Path) -> None:
    data = bytearray(encoded(tmp_path / "noisy.ts", [(320, 240)], frames=60))
    picker = np.random.default_rng(7)
    for place in picker.integers(2000, len(data), 60):
        data[place] ^= 0xFF
    server = HttpServer({"/live.ts": lambda: iter([bytes(data)])})
    with Filming(setup(f"http://127.0.0.1:{server.port}/live.ts")) as filming:
        wait_for(lambda: filming.report.captured >= 3 and filming.report.failures >= 1)
        assert filming.thread.is_alive()
    server.close()
