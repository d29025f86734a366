"""A real web server on loopback for files, with Range, and scripted to misbehave.

with WebServer({"a/b": data}) as server:
    HttpsSource(server.url).read("a/b", 0)
"""

from __future__ import annotations

import contextlib
import re
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self

Answer = Callable[["Handler", bytes, int], None]


class Handler(BaseHTTPRequestHandler):
    """Serves one request the way the server's script says."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = (
        True  # a head without its body would wait 40 ms for the client to acknowledge it
    )

    def do_GET(self) -> None:
        server: Any = self.server
        web: WebServer = server.web
        web.requests.append((self.path, dict(self.headers.items())))
        data = web.files.get(self.path.removeprefix("/"))
        if data is None:
            self.answer(404, b"no")
            return
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        with contextlib.suppress(OSError):
            web.script(self, data, int(match.group(1)) if match else 0)

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        """Send a whole answer; underscores in header names become dashes."""
        self.send_response(status)
        for name, value in ({"Content_Length": str(len(body))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


def honest(handler: Handler, data: bytes, start: int) -> None:
    if start == 0:
        handler.answer(200, data)
    elif start < len(data):
        found = f"bytes {start}-{len(data) - 1}/{len(data)}"
        handler.answer(206, data[start:], Content_Range=found)
    else:
        handler.answer(416, b"", Content_Range=f"bytes */{len(data)}")


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_who: object) -> None:
        """Say nothing of clients that hang up."""


@dataclass
class WebServer:
    """Files by path, and how they are served."""

    files: dict[str, bytes]
    script: Answer = honest
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    context: ssl.SSLContext | None = None

    def __enter__(self) -> Self:
        self._server = _QuietServer(("127.0.0.1", 0), Handler)
        self._server.web = self  # type: ignore[attr-defined]
        if self.context:
            self._server.socket = self.context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        scheme = "https" if self.context else "http"
        return f"{scheme}://127.0.0.1:{self._server.server_port}"
