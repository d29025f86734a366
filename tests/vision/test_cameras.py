"""Cameras: pacing, the file as a live source, reconnection, and that no password is told."""

import http.server
import logging
import socket
import threading
import time
from collections import deque
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import CameraError
from agent.host.clock import CaptureClock
from agent.schema.config import CameraConfig
from agent.vision.cameras import Camera, CameraSetup, Frame, kind_of, open_camera, redact
from agent.vision.cameras.pace import Pace
from agent.vision.capture import CaptureLoop
from agent.vision.mailbox import Mailbox
from tests.parts.streams import wait_for

FRAMES = 30
FPS = 20


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty frames that show their own number: frame n is grey of value 8 n."""
    path = tmp_path_factory.mktemp("film") / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, (64, 48))
    for number in range(FRAMES):
        writer.write(np.full((48, 64, 3), 8 * number, np.uint8))
    writer.release()
    return path


class Hand:
    """A monotonic clock that is moved by hand: seconds since the sources were at their frame 0."""

    def __init__(self, at_s: float = 0.0) -> None:
        self.at_s = at_s

    def __call__(self) -> int:
        # Float seconds may fall a nanosecond short of the instant that is meant.
        return round(self.at_s * 1e9) + 1


def setup(source: Path | str, hand: Hand | None = None, **config: Any) -> CameraSetup:
    """A camera whose source is at frame 0 now, or at the instant 0 of `hand`."""
    entry = CameraConfig(name="door", source=str(source), **config)
    clock = CaptureClock(monotonic=hand) if hand else CaptureClock()
    return CameraSetup(
        entry, 0 if hand else time.monotonic_ns(), 10.0, threading.Event(), clock=clock
    )


def shown_over_time(camera: Camera, hand: Hand, times: int, step_s: float) -> list[int]:
    """What an open camera shows now and after each step of its clock."""
    numbers = []
    for _ in range(times):
        frame = camera.read()
        assert shown(frame) == (frame and frame.index)
        numbers.append(shown(frame))
        hand.at_s += step_s
    return numbers


def shown(frame: Frame | None) -> int:
    assert frame is not None
    return round(float(frame.image.mean()) / 8)


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
    camera = open_camera(setup(film, hand))
    camera.open()
    assert shown_over_time(camera, hand, 3, 1 / FPS) == [10, 11, 12]
    camera.close()


def test_two_readers_with_one_epoch_show_the_same_frame(film: Path) -> None:
    for at_s in (0.2, 0.23, 0.7):
        cameras = [open_camera(setup(film, Hand(at_s))) for _ in range(2)]
        for camera in cameras:
            camera.open()
        assert {shown(camera.read()) for camera in cameras} == {int(at_s * FPS)}


def test_a_reader_that_was_slow_skips_to_the_present(film: Path) -> None:
    hand = Hand()
    camera = open_camera(setup(film, hand))
    camera.open()
    assert shown_over_time(camera, hand, 3, 0.3) == [0, 6, 12]


def test_a_frame_that_is_not_due_is_waited_for(film: Path) -> None:
    camera = open_camera(setup(film, Hand()))
    camera.open()
    before_s = time.monotonic()
    assert [shown(camera.read()) for _ in range(2)] == [0, 1]
    assert time.monotonic() - before_s >= 1 / FPS


def test_a_file_starts_again_at_its_end(film: Path) -> None:
    hand = Hand((FRAMES - 2) / FPS)
    camera = open_camera(setup(film, hand))
    camera.open()
    assert shown_over_time(camera, hand, 5, 1 / FPS) == [FRAMES - 2, FRAMES - 1, 0, 1, 2]


def test_a_file_ends_where_it_shall_not_loop(film: Path) -> None:
    camera = open_camera(setup(film, Hand(10.0), loop=False))
    camera.open()
    assert camera.read() is None


def test_a_cap_on_the_frame_rate_leaves_the_films_speed_alone(film: Path) -> None:
    hand = Hand()
    camera = open_camera(setup(film, hand, fps=5.0))
    camera.open()
    assert shown_over_time(camera, hand, 3, 0.2) == [0, 4, 8]


def test_a_waiting_camera_heeds_stop(film: Path) -> None:
    made = setup(film, fps=0.01)
    camera = open_camera(made)
    camera.open()
    assert camera.read() is not None
    threading.Timer(0.1, made.stop.set).start()
    assert camera.read() is None


def test_a_folder_shows_its_pictures_by_name(tmp_path: Path) -> None:
    for number in (2, 0, 1):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((8, 8, 3), 8 * number, np.uint8))
    (tmp_path / "notes.txt").write_text("no picture")
    hand = Hand()
    camera = open_camera(setup(tmp_path, hand, fps=4.0))
    camera.open()
    assert shown_over_time(camera, hand, 4, 0.25) == [0, 1, 2, 0]


def test_the_pattern_moves_and_has_its_size() -> None:
    camera = open_camera(setup("pattern:640x360", fps=50.0))
    camera.open()
    first, second = camera.read(), camera.read()
    assert first is not None
    assert second is not None
    assert first.image.shape == (360, 640, 3)
    assert (first.image != second.image).any()


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("/nowhere/film.mp4", "camera.missing"),
        ("pattern:huge", "camera.unknown"),
        ("carrier-pigeon:7", "camera.unknown"),
        ("/dev/video97", "camera.missing"),
        ("rtsp://127.0.0.1:9/nothing", "camera.unreachable"),
    ],
)
def test_a_source_that_is_not_there_is_a_camera_error(source: str, code: str) -> None:
    with pytest.raises(CameraError) as caught:
        open_camera(setup(source)).open()
    assert caught.value.code == code


def test_a_stream_is_read_over_the_network(film: Path) -> None:
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=film.parent)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    camera = open_camera(setup(f"http://127.0.0.1:{server.server_port}/{film.name}"))
    camera.open()
    assert [shown(camera.read()) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(CameraError, match="no more pictures") as caught:
        deque(iter(camera.read, None))
    assert caught.value.code == "camera.lost"
    camera.close()
    server.shutdown()
    server.server_close()


def test_a_stream_whose_server_says_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        camera = open_camera(setup(f"rtsp://127.0.0.1:{mute.getsockname()[1]}/live"))
        with pytest.raises(CameraError) as caught:
            camera.open()
    assert caught.value.code == "camera.silent"


def test_a_file_that_is_no_video_is_a_camera_error(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(b"no film at all" * 100)
    with pytest.raises(CameraError) as caught:
        open_camera(setup(path)).open()
    assert caught.value.code == "camera.unreadable"


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("rtsp://h/s", "stream"),
        ("HTTP://h/s", "stream"),
        ("/dev/video0", "usb"),
        ("pattern:", "pattern"),
        ("csi:0", "csi"),
        ("/tmp", "folder"),
        ("/tmp/film.mp4", "file"),
        ("./a:b/film.mp4", "file"),
    ],
)
def test_the_kind_of_a_source_shows_in_it(source: str, kind: str) -> None:
    assert kind_of(source) == kind


def unchanged(frame: Frame) -> Frame:
    return frame


@pytest.mark.parametrize(
    "source",
    [
        "rtsp://ann:s3cret@10.0.0.7:554/live?token=s3cret",
        "rtsp://ann:s3cret@[::1/live",
        "http://s3cret@host/",
    ],
)
def test_no_password_is_told(source: str, caplog: pytest.LogCaptureFixture) -> None:
    assert "s3cret" not in redact(source)
    assert "ann" not in redact(source)
    made = setup(source.replace("10.0.0.7:554", "127.0.0.1:9"))
    loop = CaptureLoop(made, Mailbox[Frame](["door"]), unchanged)
    with caplog.at_level(logging.DEBUG):
        thread = threading.Thread(target=loop.run)
        thread.start()
        wait_for(lambda: loop.report(0).status == "failed")
        made.stop.set()
        thread.join(60)
    assert not thread.is_alive()
    assert loop.report(0).problem
    assert "s3cret" not in caplog.text + loop.report(0).problem


def test_a_camera_that_comes_back_is_opened_again(film: Path, tmp_path: Path) -> None:
    path = tmp_path / "later.avi"
    made = setup(path)
    mailbox = Mailbox[Frame](["door"])
    loop = CaptureLoop(made, mailbox, unchanged)
    thread = threading.Thread(target=loop.run)
    thread.start()
    wait_for(lambda: loop.report(0).status == "failed")
    path.write_bytes(film.read_bytes())
    assert mailbox.take(60.0) is not None
    assert loop.report(0).status == "streaming"
    assert not loop.report(0).problem
    made.stop.set()
    thread.join(60)
    assert not thread.is_alive()


def test_a_film_that_is_over_says_so(film: Path) -> None:
    loop = CaptureLoop(setup(film, Hand(10.0), loop=False), Mailbox[Frame](["door"]), unchanged)
    loop.run()
    assert loop.report(0).status == "ended"


def picture(index: int) -> Frame:
    return Frame(np.zeros((1, 1, 3), np.uint8), index, 0, 0, 0.0)


def test_the_newest_frame_wins() -> None:
    mailbox = Mailbox[Frame](["a"])
    assert [mailbox.put("a", picture(index)) for index in range(3)] == [False, True, True]
    taken = mailbox.take(0.1)
    assert taken is not None
    assert taken[1].index == 2
    assert mailbox.take(0.01) is None


def test_cameras_take_turns_however_fast_one_is() -> None:
    mailbox = Mailbox[Frame](["fast", "slow", "other"])
    served = []
    for number in range(9):
        for name in ("fast", "slow", "other"):
            mailbox.put(name, picture(number))
        taken = mailbox.take(0.1)
        assert taken is not None
        served.append(taken[0])
    assert served == ["fast", "slow", "other"] * 3
