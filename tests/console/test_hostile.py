"""What hostile visitors try on the page, against the running server; `docs/console.md` lists it with the results."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest

from agent.console.server import Console
from agent.schema.config import CameraConfig
from agent.web.connections import MAX_CONNECTIONS
from tests.console.scripted import Device
from tests.console.test_guard import dial, raw
from tests.parts.processes import until

UPGRADE = (
    b"GET /stream/belt HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
EMBEDS = ("image", "script", "iframe", "empty")


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_five_hundred_viewers_are_borne_and_the_agent_keeps_its_file_descriptors(
    console: Console, client: httpx.Client
) -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert soft > 700
    before = open_files()
    with ExitStack() as held:
        for _ in range(500):
            viewer = held.enter_context(socket.socket())
            viewer.settimeout(30)
            viewer.connect(("127.0.0.1", int(console.url.rstrip("/").rpartition(":")[2])))
            with suppress(OSError):
                viewer.sendall(b"GET /stream/belt HTTP/1.1\r\nHost: localhost\r\n\r\n")
        until(lambda: console._viewers.open > 0, 30, "some are served")
        assert console._viewers.open <= 8
        # 500 sockets are this test's own; the server's side holds no more than its limit.
        assert open_files() - before - 500 <= MAX_CONNECTIONS + 8
    until(lambda: _answers(client), 30, "the page answers again")
    until(lambda: console._viewers.open == 0, 30, "all viewers are gone")


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/healthz").status_code == 200
    except httpx.HTTPError:
        return False


def test_a_websocket_of_another_site_is_not_opened(console: Console) -> None:
    for origin in (b"Origin: http://evil.example\r\nSec-Fetch-Site: cross-site\r\n", b""):
        with dial(console) as connection:
            connection.sendall(UPGRADE + origin + b"\r\n")
            answer = connection.recv(65536)
        assert b" 101 " not in answer.split(b"\r\n")[0]
        assert not origin or answer.startswith(b"HTTP/1.1 403")


@pytest.mark.parametrize("kind", EMBEDS)
@pytest.mark.parametrize("path", ["/frame/belt.jpg", "/stream/belt", "/api/status", "/app.js", "/"])
def test_other_sites_cannot_embed_or_read_anything(
    client: httpx.Client, path: str, kind: str
) -> None:
    mode = "navigate" if kind == "iframe" else "no-cors"
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": kind}
    assert client.get(path, headers=headers).status_code == 403


def test_a_link_on_another_site_may_lead_here(client: httpx.Client) -> None:
    headers = {
        "Sec-Fetch-Site": "cross-site",
        "Sec-Fetch-Mode": "navigate",
        "Sec-Fetch-Dest": "document",
    }
    assert client.get("/", headers=headers).status_code == 200
    assert client.get("/api/status", headers=headers).status_code == 403


def test_no_answer_allows_another_origin(client: httpx.Client) -> None:
    headers = {"Origin": "http://evil.example", "Access-Control-Request-Method": "PUT"}
    preflight = client.options("/api/places/belt", headers=headers)
    assert preflight.status_code == 405
    answers = [preflight, client.get("/api/status", headers=headers)]
    found = {name.lower() for answer in answers for name in answer.headers}
    assert not any(name.startswith("access-control") for name in found)


@pytest.mark.parametrize(
    "path",
    [
        "/frame/belt%0d%0aSet-Cookie:%20a=b.jpg",
        "/stream/x%0d%0a%0d%0a<script>",
        "/api/log?level=a%0d%0aX-Evil:%201",
        "/event/a%0d%0aX-Evil:%201/snapshot.jpg",
    ],
)
def test_a_line_break_in_an_address_adds_no_header(console: Console, path: str) -> None:
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    head, _, _ = raw(console, request.encode()).partition(b"\r\n\r\n")
    assert head.startswith((b"HTTP/1.1 404", b"HTTP/1.1 400"))
    assert b"x-evil" not in head.lower()
    assert b"set-cookie" not in head.lower()


@pytest.mark.parametrize(
    "request_text",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: local\x00host\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"PUT /api/places/belt HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n",
    ],
)
def test_requests_that_read_in_two_ways_are_refused_and_the_next_visitor_is_served(
    console: Console, client: httpx.Client, request_text: bytes
) -> None:
    answer = raw(console, request_text)
    assert answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 200")), answer[:60]
    assert answer.count(b"HTTP/1.1") == 1
    assert client.get("/healthz").status_code == 200


@pytest.fixture
def strange(device: Device) -> Iterator[Console]:
    """A camera whose name is markup: configuration forbids it, the page must bear it all the same."""
    name = "<img src=x onerror=alert(1)>"
    device.configured = {name: CameraConfig(name=name, source="pattern:")}
    running = device.console()
    running.start()
    yield running
    running.stop()


def test_a_camera_whose_name_is_markup_is_never_read_as_markup(strange: Console) -> None:
    with httpx.Client(base_url=strange.url) as http:
        status = http.get("/api/status")
        assert status.headers["content-type"] == "application/json"
        assert status.headers["x-content-type-options"] == "nosniff"
        missing = http.get("/frame/<script>alert(1)</script>.jpg")
        assert (missing.status_code, missing.headers["content-type"]) == (404, "application/json")
