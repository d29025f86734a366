"""Streams for tests: a real RTSP server, a relay that cuts and freezes connections, an HTTP server of bytes."""

from __future__ import annotations

import base64
import contextlib
import http.server
import select
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np

from agent.host.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[2]
FILM = ROOT / "agent" / "demo" / "bundled" / "conveyor.mp4"
_SERVE = (
    "import asyncio, sys, aio_rtsp_toolkit.server as server;"
    "asyncio.run(server.serve(sys.argv[1], '127.0.0.1', int(sys.argv[2])))"
)


class RtspServer:
    """aio-rtsp-toolkit in a process of its own; it shows the mp4 files of a folder, over and over."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-c", _SERVE, str(self.folder), str(self.port)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_for(lambda: answers(self.port))

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def url(self, name: str, port: int = 0) -> str:
        return f"rtsp://127.0.0.1:{port or self.port}/{name}?play_count=0"


class Relay:
    """A TCP relay before a server: passes bytes on, or swallows them, or cuts and refuses connections."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._passing = threading.Event()
        self._passing.set()
        self._lock = threading.Lock()
        self.port = free_port()
        self._listener: socket.socket | None = None
        self.accepted = 0
        self.listen()

    def listen(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port), reuse_port=True)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def freeze(self) -> None:
        """Say nothing more on connections that stay open, as after a link that broke without a word."""
        self._passing.clear()

    def thaw(self) -> None:
        self._passing.set()

    def cut(self) -> None:
        """Close all connections and refuse new ones."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self.drop()

    def drop(self) -> None:
        """Close all connections and take new ones."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                _shut(end)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.accepted += 1
            try:
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                client.close()
                continue
            with self._lock:
                self._pairs.append((client, server))
            threading.Thread(target=self._pump, args=(client, server), daemon=True).start()

    def _pump(self, client: socket.socket, server: socket.socket) -> None:
        other = {client: server, server: client}
        try:
            while True:
                self._passing.wait()
                readable, _, _ = select.select([client, server], [], [], 0.2)
                for end in readable:
                    data = end.recv(65536)
                    if not data:
                        return
                    other[end].sendall(data)
        except (OSError, ValueError):
            return
        finally:
            with self._lock:
                self._pairs = [pair for pair in self._pairs if pair[0] is not client]
            client.close()
            server.close()


class HttpServer:
    """Shows what `pages` holds at each path, where `user:password` is asked for if given; 404 elsewhere."""

    def __init__(self, pages: dict[str, Callable[[], Iterator[bytes]]], login: str = "") -> None:
        handler = type("Handler", (_Handler,), {"pages": pages, "login": login})
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    pages: dict[str, Callable[[], Iterator[bytes]]]
    login: str

    def do_GET(self) -> None:
        expected = "Basic " + base64.b64encode(self.login.encode()).decode()
        if self.login and self.headers.get("Authorization") != expected:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="camera"')
            self.end_headers()
        elif self.path not in self.pages:
            self.send_error(404)
        else:
            self._show(self.pages[self.path])

    def _show(self, page: Callable[[], Iterator[bytes]]) -> None:
        self.send_response(200)
        kind = "multipart/x-mixed-replace; boundary=frame" if "mjpeg" in self.path else "video/mp2t"
        self.send_header("Content-Type", kind)
        self.end_headers()
        try:
            for part in page():
                self.wfile.write(part)
        except OSError:
            pass

    def log_message(self, *_: object) -> None:
        pass


def encoded(path: Path, sizes: list[tuple[int, int]], frames: int = 20, **options: Any) -> bytes:
    """Write a film in H.264, a part of `frames` frames for each size one after the other; return its bytes.

    Only the container MPEG-TS (`.ts`) can change its size on the way.
    """
    parts = []
    for index, size in enumerate(sizes):
        part = path.with_stem(f"{path.stem}-{index}")
        _encode(part, size, frames, options)
        parts.append(part.read_bytes())
    path.write_bytes(b"".join(parts))
    return path.read_bytes()


def _encode(path: Path, size: tuple[int, int], frames: int, options: dict[str, Any]) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.options = {"preset": "ultrafast", "g": "10"} | options
        for number in range(frames):
            image = np.full((size[1], size[0], 3), 8 * (number % 30), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode())


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def wait_for(condition: Callable[[], object], timeout_s: float = 30.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def _shut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
