"""Network streams from a real RTSP server: lost, frozen, gone and back again."""

from __future__ import annotations

import gc
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.parts.streams import FILM, HttpServer, Relay, RtspServer, encoded, wait_for
from tests.vision.filming import Filming, setup

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def server() -> Iterator[RtspServer]:
    made = RtspServer(FILM.parent)
    yield made
    made.kill()


@pytest.fixture
def relay(server: RtspServer) -> Iterator[Relay]:
    made = Relay(server.port)
    yield made
    made.thaw()
    made.cut()


def test_a_camera_is_read_and_says_what_it_is(server: RtspServer) -> None:
    with Filming(setup(server.url(FILM.name))) as filming:
        report = filming.wait()
        assert (report.width, report.height) == (640, 360)
        assert report.decoder == "software"
        assert not report.problem


def test_a_cut_connection_is_lost_and_comes_back(server: RtspServer, relay: Relay) -> None:
    with Filming(setup(server.url(FILM.name, relay.port))) as filming:
        filming.wait()
        relay.cut()
        filming.wait("failed")
        filming.wait_failures("camera.unreachable")
        relay.listen()
        report = filming.wait()
        assert report.reconnects == 1
        assert report.failures >= 2
        assert not report.code


def test_a_link_that_broke_without_a_word_is_noticed(server: RtspServer, relay: Relay) -> None:
    with Filming(setup(server.url(FILM.name, relay.port))) as filming:
        filming.wait()
        relay.freeze()
        filming.wait("failed", "camera.stalled")
        relay.thaw()
        filming.wait()


def test_a_server_that_was_killed_is_found_again(tmp_path: Path) -> None:
    encoded(tmp_path / "yard.mp4", [(64, 48)])
    server = RtspServer(tmp_path)
    try:
        with Filming(setup(server.url("yard.mp4"))) as filming:
            filming.wait()
            server.kill()
            filming.wait("failed")
            server.start()
            filming.wait()
    finally:
        server.kill()


def test_many_reconnects_leave_nothing_behind(tmp_path: Path) -> None:
    """A stream that ends at once, time and again; `scripts/show_cameras reconnects` does it a thousand times."""
    data = encoded(tmp_path / "short.ts", [(64, 48)], frames=5)
    server = HttpServer({"/live.ts": lambda: iter([data])})
    counts = []
    with Filming(setup(f"http://127.0.0.1:{server.port}/live.ts")) as filming:
        for number in (3, 12):
            wait_for(lambda number=number: filming.report.reconnects >= number)  # type: ignore[misc]
            gc.collect()
            counts.append((_open_files(), threading.active_count()))
    server.close()
    early, late = counts
    assert late[0] <= early[0] + 4
    assert late[1] <= early[1] + 4


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_motion_jpeg_over_http_is_read() -> None:
    import cv2
    import numpy as np

    jpeg = cv2.imencode(".jpg", np.full((48, 64, 3), 80, np.uint8))[1].tobytes()

    def pictures() -> Iterator[bytes]:
        for _ in range(200):
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            yield head.encode() + jpeg + b"\r\n"

    server = HttpServer({"/mjpeg": pictures})
    with Filming(setup(f"http://127.0.0.1:{server.port}/mjpeg")) as filming:
        wait_for(lambda: filming.report.captured >= 3)
        assert (filming.report.width, filming.report.height) == (64, 48)
    server.close()


@pytest.mark.parametrize("login", ["ann:p@ss/w:rd", "ann:plain"])
def test_a_password_from_a_file_opens_the_stream(tmp_path: Path, login: str) -> None:
    data = encoded(tmp_path / "yard.ts", [(64, 48)])
    server = HttpServer({"/live.ts": lambda: iter([data])}, login=login)
    secret = tmp_path / "yard.password"
    secret.write_text(login + "\n")
    source = f"http://127.0.0.1:{server.port}/live.ts"
    with Filming(setup(source, password_file=str(secret))) as filming:
        wait_for(lambda: filming.report.captured >= 3)
    with Filming(setup(source)) as filming:
        filming.wait("failed", "camera.unauthorized")
    server.close()
