"""Why a network stream does not open: asked of its server in a few lines of RTSP or HTTP, within a bounded time.

FFmpeg, as OpenCV wraps it, says only that a stream did not open. Here the host's name, the connection, the
server's answer and its demand for a password are told apart. RFC 7826 (RTSP), RFC 7617 and 7616 (passwords).
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import socket
import ssl
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

_PORTS: Mapping[str, int] = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
_TLS = frozenset({"rtsps", "https"})
_TIMEOUT_S = 3.0
_MAX_ANSWER = 16 * 1024
_FIELD = re.compile(r'(\w+)="?([^",]*)"?')


@dataclass(frozen=True)
class Finding:
    """Stable code of the fault, what is wrong, and what to do about it."""

    code: str
    problem: str
    hint: str


REFUSED = Finding(
    "camera.unauthorized",
    "refuses user or password",
    "correct user and password in the source or its password_file",
)
MISSING = Finding("camera.not_found", "has no such stream", "correct the path in the source")
UNRESOLVED = Finding(
    "camera.unresolved",
    "has a host name that cannot be resolved",
    "correct the name, or give an address, or repair the name service",
)
UNREACHABLE = Finding(
    "camera.unreachable",
    "cannot be reached",
    "check power, cable, address, port and firewall",
)
SILENT = Finding(
    "camera.silent",
    "accepts the connection and does not answer",
    "restart the camera; check that the port is that of its stream",
)
UNDECODABLE = Finding(
    "camera.undecodable",
    "answers, and what it sends cannot be decoded",
    "set the camera to H.264, H.265 or MJPEG",
)


def diagnose(address: str) -> Finding:
    """Return why the stream at `address` (with its user and password) does not open."""
    try:
        parts = urlsplit(address)
        target = (parts.hostname or "", parts.port or _PORTS[parts.scheme])
        socket.getaddrinfo(*target, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, ValueError):
        return UNRESOLVED
    try:
        connection = socket.create_connection(target, _TIMEOUT_S)
    except OSError:
        return UNREACHABLE
    try:
        with connection, _wrapped(connection, parts) as stream:
            return _finding(_ask_twice(stream, parts))
    except (OSError, ValueError):
        return SILENT


def _wrapped(connection: socket.socket, parts: SplitResult) -> socket.socket:
    if parts.scheme not in _TLS:
        return connection
    # Cameras sign their own certificates, and FFmpeg takes them as they are.
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(connection, server_hostname=parts.hostname)


def _ask_twice(stream: socket.socket, parts: SplitResult) -> int:
    """Return the server's status, after its demand for a password was answered where there is one."""
    request = _Request(parts)
    status, headers = _ask(stream, request, "")
    if status == HTTPStatus.UNAUTHORIZED and parts.username:
        challenge = headers.get("www-authenticate", "")
        status, _ = _ask(stream, request, request.authorization(challenge))
    return status


def _ask(
    stream: socket.socket, request: _Request, authorization: str
) -> tuple[int, dict[str, str]]:
    stream.sendall(request.text(authorization).encode())
    answer = b""
    while b"\r\n\r\n" not in answer and len(answer) < _MAX_ANSWER:
        received = stream.recv(4096)
        if not received:
            raise ConnectionResetError
        answer += received
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        # Of several demands the last wins, except that a digest is not forgotten for a plain one.
        if name.lower() not in headers or value.strip().lower().startswith("digest"):
            headers[name.lower()] = value.strip()
    _skip_body(stream, int(headers.get("content-length", "0")) - len(body))
    return int(first.split(" ")[1]), headers


def _skip_body(stream: socket.socket, left: int) -> None:
    while 0 < left <= _MAX_ANSWER and (received := stream.recv(left)):
        left -= len(received)


def _finding(status: int) -> Finding:
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return REFUSED
    if status in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
        return MISSING
    if status >= HTTPStatus.BAD_REQUEST:
        problem, hint = f"answers with status {status}", "look at the camera's own log"
        return Finding("camera.server_error", problem, hint)
    return UNDECODABLE


class _Request:
    """A question that changes nothing: DESCRIBE for RTSP, GET for HTTP."""

    def __init__(self, parts: SplitResult) -> None:
        self._user, self._password = unquote(parts.username or ""), unquote(parts.password or "")
        bare = parts._replace(netloc=parts.netloc.rpartition("@")[2])
        self._host = bare.netloc
        self._rtsp = parts.scheme.startswith("rtsp")
        self._method = "DESCRIBE" if self._rtsp else "GET"
        path = bare._replace(scheme="", netloc="").geturl() or "/"
        self._target = bare.geturl() if self._rtsp else path
        self._number = 0

    def text(self, authorization: str) -> str:
        """Return the request as it goes out."""
        self._number += 1
        lines = [f"{self._method} {self._target} {'RTSP/1.0' if self._rtsp else 'HTTP/1.1'}"]
        lines += [f"CSeq: {self._number}"] if self._rtsp else [f"Host: {self._host}"]
        lines += [f"Authorization: {authorization}"] if authorization else []
        return "\r\n".join([*lines, "User-Agent: vigil", "", ""])

    def authorization(self, challenge: str) -> str:
        """Return the answer to a server's demand."""
        if not challenge.lower().startswith("digest"):
            return "Basic " + base64.b64encode(f"{self._user}:{self._password}".encode()).decode()
        asked = dict(_FIELD.findall(challenge))
        realm, nonce = asked.get("realm", ""), asked.get("nonce", "")
        secret = _md5(f"{self._user}:{realm}:{self._password}")
        request = _md5(f"{self._method}:{self._target}")
        fields = {"username": self._user, "realm": realm, "nonce": nonce, "uri": self._target}
        if "qop" in asked:
            once = secrets.token_hex(8)
            fields["response"] = _md5(f"{secret}:{nonce}:00000001:{once}:auth:{request}")
            extra = f', qop=auth, nc=00000001, cnonce="{once}"'
        else:
            fields["response"], extra = _md5(f"{secret}:{nonce}:{request}"), ""
        return "Digest " + ", ".join(f'{name}="{value}"' for name, value in fields.items()) + extra


def _md5(text: str) -> str:
    """Return the digest that RFC 7616 makes of texts; the protocol's choice, not ours."""
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
