"""What every request must pass before any page sees it, and the headers every answer carries.

Order of checks: method, body size, `Host` (against DNS rebinding: a hostile name that resolves to this
device is not ours), which site asks, then token or session, then whether that role may change anything.
Whoever fails gets a short JSON answer that says why.

Which site asks: browsers say so in `Sec-Fetch-Site` and, for everything but GET, in `Origin`
(https://www.w3.org/TR/fetch-metadata/). Other sites may lead a person here and nothing else.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent.schema.messages import Role
from agent.web.access import Access
from agent.web.answers import refusal

COOKIE = "vigil_session"
MAX_BODY_BYTES = 4096
MAX_DIGITS = 9
OPEN_PATHS = frozenset({"/login", "/logout", "/healthz", "/style.css", "/icon.svg"})
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; media-src 'self'; "
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


class Guard:
    """ASGI middleware that applies the checks, notes the asker's role and adds the headers.

    Args:
        app: The routes behind it; they find the role in `request.state.role`.
        host_allowed: Decides about `Host` headers.
        access: Token check.
        writable: First part of the paths that take PUT, and the bytes that may be put there.
    """

    def __init__(
        self,
        app: ASGIApp,
        host_allowed: Callable[[str], bool],
        access: Access,
        writable: tuple[str, int] | None = None,
    ) -> None:
        self._app = app
        self._host_allowed = host_allowed
        self._access = access
        self._writable = writable

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, or refuse it."""

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(SECURITY_HEADERS)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        headers = Headers(scope=scope)
        answer = self._refuse(scope, headers) or self._admit(scope, headers) or self._app
        await answer(scope, receive, send_guarded)

    def _refuse(self, scope: Scope, headers: Headers) -> Response | None:
        """Refuse what nobody may do, whoever asks."""
        path, method = scope["path"], scope["method"]
        put_limit = self._put_limit(path)
        if not _method_fits(method, path, may_put=bool(put_limit)):
            return refusal(
                405, "method", "this address only answers GET and HEAD", Allow="GET, HEAD"
            )
        limit = put_limit or MAX_BODY_BYTES
        if not _body_fits(headers, limit):
            return refusal(413, "body", f"a body may have at most {limit} bytes")
        if len(headers.getlist("host")) != 1 or not self._host_allowed(headers["host"]):
            message = "the Host header does not name this device; use its address"
            return refusal(421, "host", message)
        if _is_foreign(scope, headers):
            return refusal(403, "origin", "another site may not ask this; open the page itself")
        return None

    def _put_limit(self, path: str) -> int:
        """Return how many bytes may be put at `path`, 0 where nothing may."""
        if self._writable is None or not path.startswith(self._writable[0]):
            return 0
        return self._writable[1]

    def _admit(self, scope: Scope, headers: Headers) -> Response | None:
        """Note the role of who asks, or refuse."""
        role, wrong = self._role(scope, headers)
        scope.setdefault("state", {})["role"] = role
        if scope["path"] in OPEN_PATHS:
            return None
        if wrong is not None:
            return wrong
        if role is None:
            return _ask_to_log_in(scope)
        if scope["method"] not in ("GET", "HEAD") and role is not Role.OPERATOR:
            return refusal(403, "role", "a viewer may not change anything; log in as operator")
        return None

    def _role(self, scope: Scope, headers: Headers) -> tuple[Role | None, Response | None]:
        access, now_s, address = self._access, time.monotonic(), client_address(scope)
        if role := access.role_of_session(_session_of(headers), now_s):
            return role, None
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return access.anonymous, None
        if wait_s := access.failures.wait_s(address, now_s):
            retry = {"Retry-After": str(int(wait_s) + 1)}
            return None, refusal(429, "attempts", "too many wrong tokens; wait", **retry)
        if role := access.role_of_token(token.strip()):
            return role, None
        access.failures.add(address, now_s)
        return None, refusal(401, "token", "wrong token", **{"WWW-Authenticate": "Bearer"})


def client_address(scope: Scope) -> str:
    """Return the peer's address; empty when unknown."""
    client = scope.get("client")
    return client[0] if client else ""


def _method_fits(method: str, path: str, *, may_put: bool) -> bool:
    if method == "POST":
        return path in ("/login", "/logout")
    return method in ("GET", "HEAD") or (method == "PUT" and may_put)


def _body_fits(headers: Headers, limit: int) -> bool:
    length = headers.get("content-length", "0")
    return length.isascii() and length.isdigit() and int(length[:MAX_DIGITS]) <= limit


def _is_foreign(scope: Scope, headers: Headers) -> bool:
    """Whether another site's page asks for more than to show this one."""
    changes = scope["method"] not in ("GET", "HEAD")
    if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        leads_here = scope["path"] in ("/", "/login")
        navigates = headers.get("sec-fetch-mode") == "navigate"
        is_frame = headers.get("sec-fetch-dest") != "document"
        return changes or is_frame or not (leads_here and navigates)
    # A form of this page says `null` under its no-referrer policy; then `Sec-Fetch-Site` decides.
    origin = headers.get("origin", "null")
    said = origin.partition("://")[2] == headers["host"] or (
        origin == "null" and scope["path"] == "/login"
    )
    return changes and "origin" in headers and not said


def _session_of(headers: Headers) -> str:
    # Lenient on purpose: cookies of other programs on this host come along, whatever they look like.
    return cookie_parser(headers.get("cookie", "")).get(COOKIE, "")


def _ask_to_log_in(scope: Scope) -> Response:
    if scope["path"] == "/":
        return RedirectResponse("/login", 303)
    headers = {"WWW-Authenticate": "Bearer"}
    return refusal(401, "token", "log in at /login or send the token as a bearer", **headers)
