"""The console as a part of the agent: `start()` serves in a thread of its own, `stop()` ends it.

Example:
    console = Console(config.console, Sources(cameras, status, grab))
    console.start()
    print(console.url)
    console.events.add(event)
    console.stop()
"""

from __future__ import annotations

import errno
import logging
import socket
import ssl
import threading
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from agent.console.access import Access, read_token
from agent.console.connections import BoundedListener, PromptProtocol
from agent.console.guard import Guard, host_check, is_loopback
from agent.console.history import POINTS, Point, point_of
from agent.console.journal import LogMemory
from agent.console.live import Viewers
from agent.console.routes import Memory, application
from agent.console.sources import Recent, Sources
from agent.errors import ConfigError
from agent.schema.config import ConsoleConfig
from agent.schema.drift import DriftNotice
from agent.schema.events import Event
from agent.schema.governor import GovernorMove
from agent.schema.messages import Role, Telemetry, UpdateReport

log = logging.getLogger(__name__)
REMEMBERED_EVENTS = 200
REMEMBERED_UPDATES = 20
REMEMBERED_MOVES = 20
REMEMBERED_DRIFTS = 50
STOP_S = 5.0


class Console:
    """The local web page.

    Args:
        config: Paths in it are used as they are: absolute, or relative to the working directory.
        sources: What the page shows.

    Attributes:
        events: Object events; `add` them from any thread.
        updates: How updates ended; `add` from any thread.
        moves: Steps of the governor; `add` from any thread.
        drifts: Cameras that drifted, or do so no more; `add` from any thread.
        log: The log's newest lines; `agent.app` hangs it into the log.
    """

    def __init__(self, config: ConsoleConfig, sources: Sources) -> None:
        self.events: Recent[Event] = Recent(REMEMBERED_EVENTS)
        self.updates: Recent[UpdateReport] = Recent(REMEMBERED_UPDATES)
        self.moves: Recent[GovernorMove] = Recent(REMEMBERED_MOVES)
        self.drifts: Recent[DriftNotice] = Recent(REMEMBERED_DRIFTS)
        self.log = LogMemory()
        self._history: Recent[Point] = Recent(POINTS)
        self._config = config
        self._sources = sources
        self._viewers = Viewers()
        self._port = config.port
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def measured(self, telemetry: Telemetry) -> Telemetry:
        """Remember a measurement for the charts and return it; from any thread."""
        self._history.add(point_of(telemetry))
        return telemetry

    @property
    def url(self) -> str:
        """Where the page is; the port is known once started."""
        scheme = "https" if self._config.tls_cert else "http"
        host = f"[{self._config.host}]" if ":" in self._config.host else self._config.host
        return f"{scheme}://{host}:{self._port}/"

    def start(self) -> None:
        """Listen and serve.

        Raises:
            ConfigError: Exposed without token or TLS, unreadable token or certificate, address or port
                not available.
        """
        access = _access(self._config)
        memory = Memory(self.events, self.updates, self.moves, self.drifts, self._history, self.log)
        app = application(self._sources, memory, self._viewers, access)
        server = _server(Guard(app, host_check(self._config.host), access), self._config)
        listener = _listen(self._config.host, self._config.port)
        self._port = listener.getsockname()[1]
        self._server = server
        self._thread = threading.Thread(
            target=_serve, args=(server, listener), name="console", daemon=True
        )
        self._thread.start()
        log.info("console: %s", self.url)

    def stop(self) -> None:
        """End live views, answer what is under way and close; may be called twice or before `start`."""
        self._viewers.stopping = True
        if self._server is None or self._thread is None:
            return
        self._server.should_exit = True
        self._thread.join(STOP_S)
        if self._thread.is_alive():
            log.warning("console: still busy after %.0f s, left behind", STOP_S)


def _access(config: ConsoleConfig) -> Access:
    if bool(config.tls_cert) != bool(config.tls_key):
        message = "console: tls_cert and tls_key are only of use together"
        raise ConfigError(message, code="console.tls", hint="set both or neither")
    has_token = bool(config.token_file or config.operator_token_file)
    exposed = not is_loopback(config.host)
    if exposed and not (has_token and config.tls_cert):
        raise ConfigError(
            f"console.host: {config.host} is open to the network, which needs token_file or "
            "operator_token_file, tls_cert and tls_key",
            code="console.exposed",
            hint="set them, or use host 127.0.0.1 and reach it through ssh -L",
        )
    tokens = _tokens(config)
    anonymous = None if exposed or config.token_file else Role(config.without_token.value)
    return Access(tokens, anonymous)


def _tokens(config: ConsoleConfig) -> dict[Role, str]:
    files = {
        Role.VIEWER: ("console.token_file", config.token_file),
        Role.OPERATOR: ("console.operator_token_file", config.operator_token_file),
    }
    tokens = {role: read_token(Path(file), name) for role, (name, file) in files.items() if file}
    if len(set(tokens.values())) < len(tokens):
        message = "console.operator_token_file: expected another token than in console.token_file"
        raise ConfigError(message, code="console.token", hint="make a new one for operators")
    return tokens


def _server(app: ASGIApp, config: ConsoleConfig) -> uvicorn.Server:
    settings = uvicorn.Config(
        app,
        http=PromptProtocol,
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        h11_max_incomplete_event_size=16 * 1024,
        timeout_graceful_shutdown=2,
        ssl_certfile=config.tls_cert,
        ssl_keyfile=config.tls_key,
    )
    try:
        settings.load()
    except (OSError, ssl.SSLError) as error:
        message = f"console: cannot use {config.tls_cert} with {config.tls_key}: {error}"
        hint = "expected a PEM certificate chain and its unencrypted PEM key, both readable"
        raise ConfigError(message, code="console.tls", hint=hint) from error
    return uvicorn.Server(settings)


def _listen(host: str, port: int) -> socket.socket:
    """Return a listening socket, so that the address is known good before any thread starts."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return BoundedListener(socket.create_server(address[:2], family=family, backlog=64))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            message = f"console.port: {port} on {host} is already in use"
            hint = "stop what uses it, choose another console.port, or 0 for any free one"
            raise ConfigError(message, code="console.port_in_use", hint=hint) from error
        message = f"console.host: cannot listen on {host} port {port}: {error.strerror}"
        hint = "console.host must be an address of this device; ports below 1024 need privileges"
        raise ConfigError(message, code="console.address", hint=hint) from error


def _serve(server: uvicorn.Server, listener: socket.socket) -> None:
    try:
        server.run(sockets=[listener])
    except Exception:
        log.exception("console: stopped by a fault; the agent goes on without it")
    finally:
        listener.close()
