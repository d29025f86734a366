"""Files over HTTP from a real server on loopback, honest and not (attack list 33, 34 and 37)."""

from __future__ import annotations

import gzip
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import formatdate

import pytest

from agent.errors import TransferError
from agent.update.pace import PaceLimits
from agent.update.sources.https import MAX_RETURNS, HttpsLimits, HttpsSource
from tests.parts.web_server import Answer, Handler, WebServer, honest

DATA = os.urandom(700_003)
QUICK = HttpsLimits(connect_s=1.0, read_s=0.3, pace=PaceLimits(50_000.0, 0.2, 5.0))


@pytest.fixture
def server() -> Iterator[WebServer]:
    with WebServer({"a/b": DATA, "empty": b""}) as server:
        yield server


def read(server: WebServer, start: int = 0, path: str = "a/b") -> bytes:
    return b"".join(HttpsSource(server.url, limits=QUICK).read(path, start))


@dataclass
class BusyServer:
    """Sends clients away `times` times with these headers, then serves."""

    times: int
    headers: dict[str, str]

    def __call__(self, handler: Handler, data: bytes, start: int) -> None:
        self.times -= 1
        if self.times >= 0:
            handler.answer(503, b"busy", **self.headers)
        else:
            honest(handler, data, start)


def test_a_busy_server_is_asked_again_when_it_says(server: WebServer) -> None:
    slept: list[float] = []
    server.script = BusyServer(2, {"Retry_After": "7"})
    source = HttpsSource(server.url, limits=QUICK, sleep=slept.append)
    assert b"".join(source.read("a/b", 5)) == DATA[5:]
    assert len(slept) == 2
    assert all(7.0 <= seconds < 9.0 for seconds in slept)


@pytest.mark.parametrize(
    ("told", "least", "most"),
    [("86400", 60, 75), ("0", 0, 0), (formatdate(0, usegmt=True), 0, 0)],
    ids=["a day is too long", "at once", "a date that is past"],
)
def test_what_a_busy_server_asks_for_is_bounded(
    server: WebServer, told: str, least: float, most: float
) -> None:
    slept: list[float] = []
    server.script = BusyServer(99, {"Retry_After": told})
    source = HttpsSource(server.url, limits=QUICK, sleep=slept.append)
    with pytest.raises(TransferError) as caught:
        list(source.read("a/b", 0))
    assert caught.value.code == "transfer.busy"
    assert len(slept) == len(server.requests) == MAX_RETURNS
    assert all(least <= seconds <= most for seconds in slept)


def test_a_busy_server_that_says_nothing_sensible_is_left(server: WebServer) -> None:
    server.script = BusyServer(99, {"Retry_After": "soon"})
    with pytest.raises(TransferError) as caught:
        read(server)
    assert caught.value.code == "transfer.refused"


@pytest.mark.parametrize("start", [0, 1, 131_072, 700_002])
def test_a_file_arrives_from_any_byte_on(server: WebServer, start: int) -> None:
    assert read(server, start) == DATA[start:]
    headers = server.requests[0][1]
    assert headers["Accept-Encoding"] == "identity"
    assert headers.get("Range") == (f"bytes={start}-" if start else None)


def test_an_empty_file_arrives(server: WebServer) -> None:
    assert read(server, path="empty") == b""


def test_an_answer_to_a_whole_range_is_as_good_as_the_whole_file(server: WebServer) -> None:
    found = f"bytes 0-{len(DATA) - 1}/{len(DATA)}"
    server.script = lambda handler, data, _start: handler.answer(206, data, Content_Range=found)
    assert read(server) == DATA


def test_a_redirect_on_the_same_host_is_followed(server: WebServer) -> None:
    server.files["moved"] = b"x"

    def script(handler: Handler, data: bytes, start: int) -> None:
        if handler.path == "/moved":
            handler.answer(302, b"", Location="/a/b")
        else:
            honest(handler, data, start)

    server.script = script
    assert read(server, 5, "moved") == DATA[5:]


def answer(status: int, body: bytes = b"x", **headers: str) -> Answer:
    return lambda handler, _data, _start: handler.answer(status, body, **headers)


def truncated(handler: Handler, data: bytes, start: int) -> None:
    found = f"bytes {start}-{len(data) - 1}/{len(data)}"
    length = str(len(data) - start)
    body = data[start : start + 1000]
    handler.answer(206, body, Content_Length=length, Content_Range=found)
    handler.close_connection = True


def drip(handler: Handler, data: bytes, start: int) -> None:
    handler.answer(200, b"", Content_Length=str(len(data)))
    for byte in data[start:500]:
        handler.wfile.write(bytes([byte]))
        time.sleep(0.02)


def silent(handler: Handler, data: bytes, _start: int) -> None:
    handler.answer(200, b"", Content_Length=str(len(data)))
    time.sleep(1.0)


@pytest.mark.parametrize(
    ("script", "start", "code"),
    [
        pytest.param(answer(200, DATA), 10, "transfer.range", id="200 instead of 206"),
        pytest.param(
            answer(206, DATA[9:], Content_Range=f"bytes 9-{len(DATA) - 1}/{len(DATA)}"),
            10, "transfer.range", id="another range",
        ),
        pytest.param(
            answer(206, DATA[10:20], Content_Range=f"bytes 10-19/{len(DATA)}"),
            10, "transfer.range", id="a part of the rest",
        ),
        pytest.param(answer(206, DATA[10:]), 10, "transfer.range", id="no Content-Range"),
        pytest.param(
            answer(206, DATA[10:20], Content_Range=f"bytes 10-{len(DATA) - 1}/{len(DATA)}"),
            10, "transfer.truncated", id="less than its range",
        ),
        pytest.param(answer(416), 10, "transfer.refused", id="out of range"),
        pytest.param(answer(404), 0, "transfer.not_found", id="404"),
        pytest.param(answer(403), 0, "transfer.not_found", id="403 of an object store"),
        pytest.param(answer(500), 0, "transfer.refused", id="500"),
        pytest.param(answer(503), 0, "transfer.refused", id="503"),
        pytest.param(
            answer(302, b"", Location="http://other.example/x"),
            0, "transfer.redirect", id="redirect to another host",
        ),
        pytest.param(answer(302, b"", Location="/a/b"), 0, "transfer.redirect", id="redirect loop"),
        pytest.param(answer(302, b""), 0, "transfer.redirect", id="redirect to nowhere"),
        pytest.param(
            answer(200, gzip.compress(DATA), Content_Encoding="gzip"),
            0, "transfer.encoding", id="gzip",
        ),
        pytest.param(
            answer(200, b"<html>log in", Content_Type="text/html; charset=utf-8"),
            0, "transfer.not_a_file", id="captive portal",
        ),
        pytest.param(truncated, 0, "transfer.failed", id="truncated"),
        pytest.param(truncated, 10, "transfer.failed", id="truncated rest"),
        pytest.param(drip, 0, "transfer.slow", id="drip"),
        pytest.param(silent, 0, "transfer.failed", id="silence"),
    ],
)  # fmt: skip
def test_a_server_that_misbehaves_is_named(
    server: WebServer, script: Answer, start: int, code: str
) -> None:
    server.script = script
    with pytest.raises(TransferError) as caught:
        read(server, start)
    assert caught.value.code == code


def test_nobody_there_is_the_roads_fault() -> None:
    with WebServer({}) as server:
        url = server.url
    with pytest.raises(TransferError) as caught:
        list(HttpsSource(url, limits=QUICK).read("a/b", 0))
    assert caught.value.code == "transfer.failed"
