"""Cameras: kinds and faults of sources, reconnection, turns, and that no password is told."""

import http.server
import logging
import socket
import threading
from collections import deque
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from agent.errors import CameraError
from agent.vision.cameras import Frame, kind_of, open_camera, redact
from agent.vision.capture import CaptureLoop
from agent.vision.mailbox import Mailbox
from tests.parts.streams import wait_for
from tests.vision.filming import setup, shown


def test_a_waiting_camera_heeds_stop(film: Path) -> None:
    made = setup(film, fps=0.01)
    camera = open_camera(made)
    camera.open()
    assert camera.read() is not None
    threading.Timer(0.1, made.stop.set).start()
    assert camera.read() is None


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
    loop = CaptureLoop(setup(film, age_s=10.0, loop=False), Mailbox[Frame](["door"]), unchanged)
    loop.run()
    assert loop.report(0).status == "ended"


def picture(index: int) -> Frame:
    return Frame(np.zeros((1, 1, 3), np.uint8), index, 0, 0, 0.0)


def test_the_newest_frame_wins() -> None:
    mailbox = Mailbox[Frame](["a"])
    assert [mailbox.put("a", picture(index)) for index in range(3)] == [False, True, True]
    taken = mailbox.take(0.1)
    assert taken is not None
    assert taken.frame.index == 2
    assert mailbox.take(0.01) is None


def test_cameras_take_turns_however_fast_one_is() -> None:
    mailbox = Mailbox[Frame](["fast", "slow", "other"])
    served = []
    for number in range(9):
        for name in ("fast", "slow", "other"):
            mailbox.put(name, picture(number))
        taken = mailbox.take(0.1)
        assert taken is not None
        served.append(taken.camera)
    assert served == ["fast", "slow", "other"] * 3
