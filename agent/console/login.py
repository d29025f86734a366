"""The login page: a form that trades the token for a session cookie.

Only this page's own form counts, so that no foreign page can log a browser in. `Sec-Fetch-Site` says whose
form it was; `Origin` cannot, because it is `null` under the page's `no-referrer` policy
(https://fetch.spec.whatwg.org/#append-a-request-origin-header).
"""

from __future__ import annotations

import asyncio
import time
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from agent.console.access import SESSION_S, Access
from agent.console.guard import COOKIE, MAX_BODY_BYTES, client_address, refusal

BODY_S = 10.0


class Login:
    """Shows the form (GET) and checks the token (POST).

    Args:
        access: None when there is no token: the page is open and this leads straight to it.
        page: The HTML of the form.
    """

    def __init__(self, access: Access | None, page: bytes) -> None:
        self._access = access
        self._page = page

    async def answer(self, request: Request) -> Response:
        """Answer a request for `/login`."""
        if self._access is None:
            return RedirectResponse("/", 303)
        if request.method != "POST":
            return HTMLResponse(self._page)
        if not _own_form(request):
            return refusal(403, "origin", "the login form must be sent from this device's own page")
        try:
            body = await asyncio.wait_for(_body(request), BODY_S)
        except asyncio.TimeoutError:
            return refusal(408, "body", "the form took too long to arrive", Connection="close")
        if body is None:
            return refusal(413, "body", f"a body may have at most {MAX_BODY_BYTES} bytes")
        return self._log_in(request, self._access, _token_in(body))

    def _log_in(self, request: Request, access: Access, token: str) -> Response:
        now_s, address = time.monotonic(), client_address(request.scope)
        if wait_s := access.failures.wait_s(address, now_s):
            return self._form("limited", 429, **{"Retry-After": str(int(wait_s) + 1)})
        if not access.token_matches(token):
            access.failures.add(address, now_s)
            return self._form("refused", 401)
        response = RedirectResponse("/", 303)
        response.set_cookie(
            COOKIE,
            access.new_session(now_s),
            max_age=SESSION_S,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return response

    def _form(self, look: str, status: int, **headers: str) -> Response:
        page = self._page.replace(b"<body>", f'<body class="{look}">'.encode())
        return HTMLResponse(page, status, headers)


def _own_form(request: Request) -> bool:
    return request.headers.get("sec-fetch-site", "none") in ("same-origin", "none")


async def _body(request: Request) -> bytes | None:
    """Read the body; None when it grows beyond the limit (a chunked one has no length to check before)."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            return None
    return body


def _token_in(body: bytes) -> str:
    try:
        fields = parse_qs(body.decode("utf-8", "replace"), max_num_fields=8)
    except ValueError:
        return ""
    return fields.get("token", [""])[0].strip()
