"""What every request must pass before any page sees it, and the headers every answer carries.

Order of checks: method, body size, `Host` (against DNS rebinding: a hostile name that resolves to this
device is not ours), then token or session. Whoever fails gets a short JSON answer that says why.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent.console.access import Access

COOKIE = "vigil_session"
MAX_BODY_BYTES = 4096
MAX_DIGITS = 9
OPEN_PATHS = frozenset({"/login", "/healthz", "/style.css", "/icon.svg"})
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


def is_loopback(host: str) -> bool:
    """Whether `host` (an address or `localhost`) is reachable from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def host_check(listening_on: str) -> Callable[[str], bool]:
    """Return what decides whether a `Host` header names this device.

    Addresses cannot be rebound, names can. So: on loopback, loopback addresses and `localhost`; elsewhere
    any address, the configured name and this machine's own names.
    """
    if is_loopback(listening_on):
        return lambda header: is_loopback(_host_of(header))
    own = socket.gethostname().lower()
    names = {listening_on.lower(), own, f"{own}.local", "localhost"}
    return lambda header: _host_of(header) in names or _is_address(_host_of(header))


def _host_of(header: str) -> str:
    """Return the host in a `Host` header, without port and brackets, in lower case."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0].lower().rstrip(".")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def refusal(status: int, code: str, message: str, **headers: str) -> Response:
    """Return an error answer: JSON with a stable code and one line for a person."""
    return JSONResponse({"code": code, "message": message}, status, headers or None)


class Guard:
    """ASGI middleware that applies the checks and adds the headers.

    Args:
        app: The routes behind it.
        host_allowed: Decides about `Host` headers.
        access: Token check; None where the console is on loopback without a token.
    """

    def __init__(
        self, app: ASGIApp, host_allowed: Callable[[str], bool], access: Access | None
    ) -> None:
        self._app = app
        self._host_allowed = host_allowed
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, or refuse it."""

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(SECURITY_HEADERS)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        answer = self._refuse(scope, Headers(scope=scope)) or self._app
        await answer(scope, receive, send_guarded)

    def _refuse(self, scope: Scope, headers: Headers) -> Response | None:
        path, method = scope["path"], scope["method"]
        if method not in ("GET", "HEAD") and (method, path) != ("POST", "/login"):
            return refusal(405, "method", "this page only answers GET and HEAD", Allow="GET, HEAD")
        if not _body_fits(headers):
            return refusal(413, "body", f"a body may have at most {MAX_BODY_BYTES} bytes")
        if len(headers.getlist("host")) != 1 or not self._host_allowed(headers["host"]):
            message = "the Host header does not name this device; use its address"
            return refusal(421, "host", message)
        if self._access is None or path in OPEN_PATHS:
            return None
        return self._refuse_stranger(self._access, scope, headers)

    def _refuse_stranger(self, access: Access, scope: Scope, headers: Headers) -> Response | None:
        now_s, address = time.monotonic(), client_address(scope)
        if access.session_valid(_session_of(headers), now_s):
            return None
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return _ask_to_log_in(scope)
        if wait_s := access.failures.wait_s(address, now_s):
            retry = {"Retry-After": str(int(wait_s) + 1)}
            return refusal(429, "attempts", "too many wrong tokens; wait", **retry)
        if access.token_matches(token.strip()):
            return None
        access.failures.add(address, now_s)
        return refusal(401, "token", "wrong token", **{"WWW-Authenticate": "Bearer"})


def client_address(scope: Scope) -> str:
    """Return the peer's address; empty when unknown."""
    client = scope.get("client")
    return client[0] if client else ""


def _body_fits(headers: Headers) -> bool:
    length = headers.get("content-length", "0")
    return length.isascii() and length.isdigit() and int(length[:MAX_DIGITS]) <= MAX_BODY_BYTES


def _session_of(headers: Headers) -> str:
    # Lenient on purpose: cookies of other programs on this host come along, whatever they look like.
    return cookie_parser(headers.get("cookie", "")).get(COOKIE, "")


def _ask_to_log_in(scope: Scope) -> Response:
    if scope["path"] == "/":
        return RedirectResponse("/login", 303)
    headers = {"WWW-Authenticate": "Bearer"}
    return refusal(401, "token", "log in at /login or send the token as a bearer", **headers)
