"""A page or an interface as a part of a program: `start()` serves in a thread of its own, `stop()` ends it."""

from __future__ import annotations

import errno
import logging
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from agent.errors import ConfigError
from agent.host.token_file import read_token
from agent.schema.config import ConsoleConfig
from agent.schema.messages import Role
from agent.web.access import Access
from agent.web.connections import BoundedListener, PromptProtocol
from agent.web.guard import Guard, host_check, is_loopback

log = logging.getLogger(__name__)
STOP_S = 5.0


class WebServer:
    """One application on one address.

    Args:
        app: What answers.
        host: Address or name to listen on.
        port: 0 picks a free one.
        tls: Certificate chain and key (PEM files); plain HTTP without.
        section: Of the settings, named in errors.
        shared: Whether other processes of this user may listen there, too; the kernel gives each its part of the visitors.

    Raises:
        ConfigError: Certificate, address or port cannot be used.
    """

    def __init__(
        self,
        app: ASGIApp,
        host: str,
        port: int,
        tls: tuple[str, str] | None = None,
        section: str = "console",
        *,
        shared: bool = False,
    ) -> None:
        cert, key = tls or (None, None)
        self._server = _uvicorn(app, cert, key, section)
        listener = _listen(host, port, section, shared=shared)
        self.port: int = listener.getsockname()[1]
        self._thread = threading.Thread(
            target=_serve, args=(self._server, listener), name="web", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Answer what is under way and close; may be called twice."""
        self._server.should_exit = True
        self._thread.join(STOP_S)
        if self._thread.is_alive():
            log.warning("web server: still busy after %.0f s, left behind", STOP_S)


class PageServer:
    """A page for people: guarded, with tokens and TLS as configured.

    Args:
        config: Paths in it are used as they are: absolute, or relative to the working directory.
        writable: As `agent.web.guard.Guard` takes it.
        section: Of the settings that the page has, named in errors.
    """

    def __init__(
        self,
        config: ConsoleConfig,
        writable: tuple[str, int] | None = None,
        section: str = "console",
    ) -> None:
        self._config = config
        self._section = section
        self._writable = writable
        self._server: WebServer | None = None

    @property
    def url(self) -> str:
        """Where the page is; the port is known once started."""
        config = self._config
        scheme = "https" if config.tls_cert else "http"
        host = f"[{config.host}]" if ":" in config.host else config.host
        return f"{scheme}://{host}:{self._server.port if self._server else config.port}/"

    def start(self, application: Callable[[Access], ASGIApp]) -> None:
        """Listen and serve what `application` makes of who may ask.

        Raises:
            ConfigError: Exposed without token or TLS, unreadable token or certificate, address or port
                not available.
        """
        config, section = self._config, self._section
        access = _access(config, section)
        guard = Guard(application(access), host_check(config.host), access, self._writable)
        tls = (config.tls_cert, config.tls_key) if config.tls_cert and config.tls_key else None
        self._server = WebServer(guard, config.host, config.port, tls, section)

    def stop(self) -> None:
        """Answer what is under way and close; may be called twice or before `start`."""
        if self._server is not None:
            self._server.stop()


def _access(config: ConsoleConfig, section: str) -> Access:
    if bool(config.tls_cert) != bool(config.tls_key):
        message = f"{section}: tls_cert and tls_key are only of use together"
        raise ConfigError(message, code=f"{section}.tls", hint="set both or neither")
    has_token = bool(config.token_file or config.operator_token_file)
    exposed = not is_loopback(config.host)
    if exposed and not (has_token and config.tls_cert):
        raise ConfigError(
            f"{section}.host: {config.host} is open to the network, which needs token_file or "
            "operator_token_file, tls_cert and tls_key",
            code=f"{section}.exposed",
            hint="set them, or use host 127.0.0.1 and reach it through ssh -L",
        )
    tokens = _tokens(config, section)
    anonymous = None if exposed or config.token_file else Role(config.without_token.value)
    return Access(tokens, anonymous)


def _tokens(config: ConsoleConfig, section: str) -> dict[Role, str]:
    files = {
        Role.VIEWER: (f"{section}.token_file", config.token_file),
        Role.OPERATOR: (f"{section}.operator_token_file", config.operator_token_file),
    }
    tokens = {role: read_token(Path(file), name) for role, (name, file) in files.items() if file}
    if len(set(tokens.values())) < len(tokens):
        message = (
            f"{section}.operator_token_file: expected another token than in {section}.token_file"
        )
        raise ConfigError(message, code=f"{section}.token", hint="make a new one for operators")
    return tokens


def _uvicorn(app: ASGIApp, cert: str | None, key: str | None, section: str) -> uvicorn.Server:
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
        ssl_certfile=cert,
        ssl_keyfile=key,
    )
    try:
        settings.load()
    except (OSError, ssl.SSLError) as error:
        message = f"{section}: cannot use {cert} with {key}: {error}"
        hint = "expected a PEM certificate chain and its unencrypted PEM key, both readable"
        raise ConfigError(message, code=f"{section}.tls", hint=hint) from error
    return uvicorn.Server(settings)


def _listen(host: str, port: int, section: str, *, shared: bool) -> socket.socket:
    """Return a listening socket, so that the address is known good before any thread starts."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(address[:2], family=family, backlog=64, reuse_port=shared)
        return BoundedListener(listener)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            message = f"{section}.port: {port} on {host} is already in use"
            hint = f"stop what uses it, choose another {section}.port, or 0 for any free one"
            raise ConfigError(message, code=f"{section}.port_in_use", hint=hint) from error
        message = f"{section}.host: cannot listen on {host} port {port}: {error.strerror}"
        hint = f"{section}.host must be an address of this device; ports below 1024 need privileges"
        raise ConfigError(message, code=f"{section}.address", hint=hint) from error


def _serve(server: uvicorn.Server, listener: socket.socket) -> None:
    try:
        server.run(sockets=[listener])
    except Exception:
        log.exception("web server: stopped by a fault; the program goes on without it")
    finally:
        listener.close()
