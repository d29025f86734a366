"""Why a stream does not open: every reason has its code, and none of them tells a password."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import re
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.errors import CameraError
from agent.vision.cameras import open_camera, redact
from agent.vision.cameras.diagnosis import diagnose
from agent.vision.cameras.live import explain_device
from tests.parts.streams import FILM, HttpServer, RtspServer
from tests.vision.filming import Filming, setup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DOCS = Path(__file__).resolve().parents[2] / "docs" / "cameras.md"


class ScriptedServer:
    """Answers every request with what `answer` makes of it."""

    def __init__(self, answer: Callable[[str], str]) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(ConnectionError):
            while request := client.recv(8192).decode():
                client.sendall(self._answer(request).encode())

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def status(code: int, *lines: str) -> str:
    return "\r\n".join([f"RTSP/1.0 {code} Reason", "CSeq: 1", *lines, "", ""])


def md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def asks_for_a_digest(request: str) -> str:
    """Let in `ann` with `s3cret`, as RFC 2617 has it."""
    sent = dict(re.findall(r'(\w+)="([^"]*)"', request))
    if "Authorization: Digest" not in request:
        return status(401, 'WWW-Authenticate: Digest realm="yard", nonce="abc"')
    method, target = request.split(" ")[:2]
    secret = md5("ann:yard:s3cret")
    asked = md5(f"{method}:{target}")
    right = md5(f"{secret}:abc:{asked}")
    return status(404 if sent["response"] == right else 401)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (lambda _: status(401, 'WWW-Authenticate: Basic realm="yard"'), "camera.unauthorized"),
        (lambda _: status(403), "camera.unauthorized"),
        (lambda _: status(404), "camera.not_found"),
        (lambda _: status(503), "camera.server_error"),
        (lambda _: status(200, "Content-Length: 5") + "v=0\r\n", "camera.undecodable"),
        (lambda _: "What do you want?\r\n\r\n", "camera.silent"),
    ],
)
def test_a_servers_answer_has_its_code(answer: Callable[[str], str], code: str) -> None:
    server = ScriptedServer(answer)
    with Filming(setup(f"rtsp://ann:s3cret@127.0.0.1:{server.port}/yard")) as filming:
        report = filming.wait("failed", code)
    server.close()
    assert "s3cret" not in report.problem


@pytest.mark.parametrize(
    ("login", "code"), [("ann:s3cret", "camera.not_found"), ("ann:wrong", "camera.unauthorized")]
)
def test_a_digest_is_answered(login: str, code: str) -> None:
    server = ScriptedServer(asks_for_a_digest)
    assert diagnose(f"rtsp://{login}@127.0.0.1:{server.port}/yard").code == code
    server.close()


def test_a_digest_with_quality_of_protection_is_answered() -> None:
    seen: list[str] = []

    def answer(request: str) -> str:
        seen.append(request)
        return status(401, 'WWW-Authenticate: Digest realm="yard", qop="auth", nonce="abc"')

    server = ScriptedServer(answer)
    diagnose(f"rtsp://ann:s3cret@127.0.0.1:{server.port}/yard")
    server.close()
    sent = dict(re.findall(r'(\w+)="([^"]*)"', seen[1]))
    secret = md5("ann:yard:s3cret")
    asked = md5(f"DESCRIBE:{sent['uri']}")
    expected = f"{secret}:abc:00000001:{sent['cnonce']}:auth:{asked}"
    assert sent["response"] == md5(expected)


def test_a_real_server_says_what_it_does_not_have() -> None:
    server = RtspServer(FILM.parent)
    assert diagnose(server.url("nothing.mp4")).code == "camera.not_found"
    server.kill()


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("rtsp://127.0.0.1:1/live", "camera.unreachable"),
        ("rtsp://no-such-host.invalid/live", "camera.unresolved"),
        ("rtsp://[::1/live", "camera.unresolved"),
        ("rtsp://127.0.0.1:99999/live", "camera.unresolved"),
    ],
)
def test_an_address_that_leads_nowhere_has_its_code(address: str, code: str) -> None:
    assert diagnose(address).code == code


def test_a_page_that_is_no_film_is_undecodable() -> None:
    server = HttpServer({"/live": lambda: iter([b"no film at all" * 1000])})
    with Filming(setup(f"http://127.0.0.1:{server.port}/live")) as filming:
        filming.wait("failed", "camera.undecodable")
    server.close()


@pytest.mark.parametrize(
    ("content", "source"),
    [
        (None, "rtsp://h/s"),
        ("", "rtsp://h/s"),
        ("only-a-password", "rtsp://h/s"),
        (":no-user", "rtsp://h/s"),
    ],
)
def test_a_password_file_that_is_no_use_is_named(
    tmp_path: Path, content: str | None, source: str
) -> None:
    secret = tmp_path / "door.password"
    if content is not None:
        secret.write_text(content)
    with pytest.raises(CameraError, match="password_file") as caught:
        open_camera(setup(source, password_file=str(secret))).open()
    assert caught.value.code == "camera.credentials"
    assert not content or content not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda _: None, "camera.missing"),
        (lambda path: path.touch(), "camera.unreadable"),
    ],
)
def test_a_device_that_does_not_open_has_its_code(
    tmp_path: Path, make: Callable[[Path], object], code: str
) -> None:
    device = tmp_path / "video0"
    make(device)
    assert explain_device(setup(device)).code == code


@pytest.mark.parametrize(
    "source",
    [
        "rtsp://ann:s3cret@h/live?token=s3cret",
        "gst:rtspsrc location=rtsp://ann:s3cret@h/live ! decodebin",
        'gst:rtspsrc location=rtsp://h/live user-id=s3cret user-pw="s3cret too" ! decodebin',
        "rtsp://ann:s3cret@[::1/live",
        "rtsp://ann:s3/cret@h/live",
        "http://ann:p@s3cret@h/live",
    ],
)
def test_a_shown_source_keeps_its_secrets(source: str) -> None:
    assert "s3cret" not in redact(source)
    assert "ann:" not in redact(source)


def test_a_worker_with_a_wrong_password_tells_it_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = ScriptedServer(lambda _: status(401, 'WWW-Authenticate: Basic realm="yard"'))
    secret = tmp_path / "password"
    secret.write_text("ann:s3cret")
    made = setup(f"rtsp://127.0.0.1:{server.port}/yard", password_file=str(secret))
    with caplog.at_level(logging.DEBUG), Filming(made) as filming:
        report = filming.wait("failed", "camera.unauthorized")
    server.close()
    commands = Path("/proc/self/cmdline").read_text() + Path("/proc/self/environ").read_text()
    assert "s3cret" not in caplog.text + str(report) + commands


def documented() -> Iterator[str]:
    yield from re.findall(r"^\| `(camera\.\w+)` \|", DOCS.read_text(), re.MULTILINE)


def test_every_code_is_documented_and_every_documented_code_is_used() -> None:
    rooms = Path(__file__).resolve().parents[2] / "agent" / "vision"
    code = "".join(path.read_text() for path in rooms.rglob("*.py"))
    used = set(re.findall(r'"(camera\.[a-z_]+)"', code)) - {"camera.closed", "camera.no_picture"}
    assert set(documented()) == used
