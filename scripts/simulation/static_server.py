"""A web server of static files over HTTPS in a process of its own; says its port, and what it sent, whenever it is asked.

python scripts/simulation/static_server.py SETTINGS.json     {"folder", "cert", "key"}; a line on standard input: `report`
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class _Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    request_queue_size = 1024
    daemon_threads = True
    requests = 0

    def __init__(self, settings: dict[str, str]) -> None:
        handler = partial(_Handler, directory=settings["folder"])
        super().__init__(("127.0.0.1", 0), handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(settings["cert"], settings["key"])
        # The handshake is for the connection's own thread.
        self.socket = context.wrap_socket(
            self.socket, server_side=True, do_handshake_on_connect=False
        )

    def get_request(self) -> tuple[socket.socket, Any]:
        """Count who comes."""
        self.requests += 1
        return super().get_request()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that hang up."""


def main() -> None:
    """Serve until standard input ends."""
    with _Server(json.loads(Path(sys.argv[1]).read_text())) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for _ in sys.stdin:
            told = {"port": server.server_port, "connections": server.requests}
            print(json.dumps(told), flush=True)
        server.shutdown()


if __name__ == "__main__":
    main()
