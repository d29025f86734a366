"""Who is let in and what is refused, asked over a real connection."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from agent.console.routes import STATUS_INTERVAL_S
from agent.console.server import Console
from agent.schema.messages import Role
from agent.web import bodies, connections
from agent.web.access import FAILURE_WINDOW_S, MAX_FAILURES, SESSION_S, Access, Failures
from agent.web.guard import host_check
from tests.console.conftest import EVERYWHERE, TOKEN
from tests.console.scripted import Device


@pytest.mark.parametrize("path", ["/", "/login", "/api/status", "/nowhere", "/frame/garage.jpg"])
def test_every_answer_carries_the_security_headers(client: httpx.Client, path: str) -> None:
    headers = client.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "server" not in headers


def test_the_page_has_no_inline_script_or_style_and_no_foreign_address() -> None:
    page = Path(__file__).parents[2] / "agent" / "console" / "page"
    for file in page.iterdir():
        text = file.read_text().replace("http://www.w3.org/2000/svg", "")
        assert "//" not in text.replace("// ", ""), file.name
        assert "style=" not in text, file.name
        assert "<script>" not in text, file.name
        assert "innerHTML" not in text, file.name


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_only_get_and_head_are_answered(client: httpx.Client, method: str) -> None:
    answer = client.request(method, "/api/status")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


def test_a_head_request_gets_headers_only(client: httpx.Client) -> None:
    answer = client.head("/api/status")
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8088", "169.254.1.1", "", "[::2]"])
def test_a_host_that_is_not_this_device_is_refused(client: httpx.Client, host: str) -> None:
    assert client.get("/api/status", headers={"Host": host}).status_code == 421


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9000", "127.0.0.1", "[::1]:8088"])
def test_names_of_loopback_are_this_device(client: httpx.Client, host: str) -> None:
    assert client.get("/api/status", headers={"Host": host}).status_code == 200


def test_off_loopback_addresses_and_own_names_are_this_device_and_other_names_are_not() -> None:
    allowed = host_check(EVERYWHERE)
    assert allowed("192.168.4.20:8443")
    assert allowed("[fe80::1]:8443")
    assert allowed(f"{socket.gethostname()}.local")
    assert not allowed("rebound.example")
    assert not allowed("192.168.4.20.rebound.example")


def dial(console: Console) -> socket.socket:
    port = int(console.url.rstrip("/").rpartition(":")[2])
    return socket.create_connection(("127.0.0.1", port), timeout=30)


def raw(console: Console, request: bytes) -> bytes:
    """Send exactly these bytes and return the whole answer."""
    with dial(console) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize(
    "path",
    [
        "/../server.py",
        "/%2e%2e/server.py",
        "/frame/..%2f..%2fserver.py.jpg",
        "/page/../../../../etc/passwd",
        "//etc/passwd",
        "/style.css/../../server.py",
        "/login.html",
    ],
)
def test_no_path_leads_out_of_the_page(console: Console, path: str) -> None:
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answer = raw(console, request.encode())
    assert answer.startswith(b"HTTP/1.1 404")
    assert b"import" not in answer
    assert b"root:" not in answer


def test_two_host_headers_are_refused(console: Console) -> None:
    answer = raw(console, b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n")
    assert answer.split(b" ")[1] in (b"400", b"421")


def test_a_large_body_is_refused_announced_or_not(stranger: httpx.Client) -> None:
    def drip() -> Iterator[bytes]:
        for _ in range(20):
            yield b"x" * 1000

    assert stranger.post("/login", content=b"token=" + b"x" * 5000).status_code == 413
    assert stranger.post("/login", content=drip()).status_code == 413
    assert stranger.request("GET", "/healthz", content=b"x" * 5000).status_code == 413


def test_garbage_is_answered_with_400_and_does_no_harm(
    console: Console, client: httpx.Client
) -> None:
    assert raw(console, b"\x16\x03\x01\x00garbage\r\n\r\n").startswith(b"HTTP/1.1 400")
    assert client.get("/healthz").status_code == 200


def test_a_huge_header_is_refused(console: Console, client: httpx.Client) -> None:
    request = b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 200_000
    with suppress(OSError):
        assert b"200 OK" not in raw(console, request)
    assert client.get("/healthz").status_code == 200


def test_connections_beyond_the_limit_are_dropped_and_the_rest_go_on(
    console: Console, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 3)
    assert client.get("/healthz").status_code == 200
    held = [dial(console) for _ in range(6)]
    assert client.get("/healthz").status_code == 200
    assert held[-1].recv(1) == b""
    for connection in held:
        connection.close()


def test_a_connection_that_asks_nothing_is_dropped(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "REQUEST_S", 0.2)
    with dial(console) as connection:
        assert connection.recv(1) == b""


def test_a_request_that_never_ends_is_dropped_the_second_one_too(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "REQUEST_S", 3.0)  # in which the first must be there
    with dial(console) as connection:
        connection.sendall(b"HEAD /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        connection.sendall(b"HEAD /healthz HTTP/1.1\r\nHo")
        assert connection.recv(1) == b""


def test_a_live_view_is_not_dropped_for_sending_nothing(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "REQUEST_S", 2.0)  # in which the request must be there
    with dial(console) as connection:
        connection.sendall(b"GET /stream/belt HTTP/1.1\r\nHost: localhost\r\n\r\n")
        end = time.monotonic() + 5.0
        while time.monotonic() < end:
            assert connection.recv(65536)


def test_a_form_that_never_arrives_is_given_up(
    locked: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "BODY_S", 0.2)
    with dial(locked) as connection:
        head = b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"
        connection.sendall(head)
        assert connection.recv(4096).startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize(
    "path", ["/api/status", "/api/events", "/stream/belt", "/frame/belt.jpg", "/metrics", "/app.js"]
)
def test_a_stranger_gets_nothing_but_the_way_to_log_in(stranger: httpx.Client, path: str) -> None:
    answer = stranger.get(path)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert (stranger.get("/").status_code, stranger.get("/").headers["location"]) == (303, "/login")


def test_health_is_open_so_that_containers_can_ask(stranger: httpx.Client) -> None:
    assert stranger.get("/healthz").json() == {"status": "ok"}


def test_the_token_as_bearer_opens_everything(stranger: httpx.Client) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert stranger.get("/metrics", headers=headers).status_code == 200


def test_logging_in_gives_a_cookie_that_scripts_and_other_sites_cannot_use(
    stranger: httpx.Client,
) -> None:
    answer = stranger.post("/login", data={"token": TOKEN})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert TOKEN not in cookie
    assert stranger.get("/api/status").status_code == 200


def test_a_wrong_token_is_told_so_on_the_page(stranger: httpx.Client) -> None:
    answer = stranger.post("/login", data={"token": "wrong"})
    assert answer.status_code == 401
    assert '<body class="refused">' in answer.text
    assert "set-cookie" not in answer.headers


def test_a_form_of_another_site_cannot_log_in(stranger: httpx.Client) -> None:
    headers = {"Sec-Fetch-Site": "cross-site"}
    assert stranger.post("/login", data={"token": TOKEN}, headers=headers).status_code == 403


@pytest.mark.parametrize("cookie", ["x", "9999999999.", "9999999999.abc", ".", "é.ü", "1;2=3"])
def test_a_forged_session_opens_nothing(stranger: httpx.Client, cookie: str) -> None:
    headers = [(b"Cookie", f"vigil_session={cookie}".encode())]
    assert stranger.get("/api/status", headers=headers).status_code == 401


def test_strange_cookies_of_other_programs_do_not_lock_anybody_out(
    stranger: httpx.Client,
) -> None:
    own = stranger.post("/login", data={"token": TOKEN}).headers["set-cookie"].partition(";")[0]
    headers = {"Cookie": f'x={{"a": [1, "b"]}}; @=; {own}'}
    assert stranger.get("/api/status", headers=headers).status_code == 200


def test_too_many_wrong_tokens_are_answered_with_429_even_for_the_right_one(
    stranger: httpx.Client,
) -> None:
    for _ in range(MAX_FAILURES):
        wrong = stranger.get("/metrics", headers={"Authorization": "Bearer wrong"})
        assert wrong.status_code == 401
    answer = stranger.post("/login", data={"token": TOKEN})
    assert answer.status_code == 429
    assert '<body class="limited">' in answer.text
    assert 0 < int(answer.headers["retry-after"]) <= FAILURE_WINDOW_S + 1
    right = stranger.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    assert right.status_code == 429


def test_failures_are_forgotten_after_the_window_and_counted_by_address() -> None:
    failures = Failures()
    for second in range(MAX_FAILURES):
        failures.add("10.0.0.1", float(second))
    assert failures.wait_s("10.0.0.1", 5.0) > 0
    assert failures.wait_s("10.0.0.2", 5.0) == 0
    assert failures.wait_s("10.0.0.1", FAILURE_WINDOW_S + 0.1) == 0


def test_a_session_ends_by_time_by_a_reboot_and_by_a_changed_token() -> None:
    tokens = {Role.VIEWER: TOKEN}
    access = Access(tokens)
    session = access.new_session(Role.VIEWER, now_s=100.0)
    assert access.role_of_session(session, 100.0 + SESSION_S - 1) is Role.VIEWER
    assert access.role_of_session(session, 100.0 + SESSION_S + 1) is None
    assert Access(tokens).role_of_session(session, 101.0) is Role.VIEWER
    assert Access(tokens, boot="another").role_of_session(session, 101.0) is None
    assert Access({Role.VIEWER: TOKEN + "x"}).role_of_session(session, 101.0) is None
    assert Access({}).role_of_session(session, 101.0) is None


def test_the_token_is_never_logged(
    stranger: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "agent")
    stranger.post("/login", data={"token": TOKEN})
    stranger.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}x"})
    time.sleep(0.05)
    assert TOKEN not in caplog.text


def test_many_questions_ask_the_agent_for_its_status_only_now_and_then(
    device: Device, client: httpx.Client
) -> None:
    began_s = time.monotonic()
    for _ in range(20):
        client.get("/api/status")
    assert device.asked <= 2 + (time.monotonic() - began_s) / STATUS_INTERVAL_S
