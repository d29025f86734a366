"""The login page: a form that trades a token for a session cookie, and the way out again.

Only this page's own form counts, so that no foreign page can log a browser in; `agent.web.guard` sees to it.
"""

from __future__ import annotations

import time
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from agent.web.access import SESSION_S, Access
from agent.web.bodies import read_body
from agent.web.guard import COOKIE, MAX_BODY_BYTES, client_address


class Login:
    """Shows the form (GET) and checks the token (POST).

    Args:
        access: Without tokens the page is open and this leads straight to it.
        page: The HTML of the form.
    """

    def __init__(self, access: Access, page: bytes) -> None:
        self._access = access
        self._page = page

    async def answer(self, request: Request) -> Response:
        """Answer a request for `/login`."""
        if not self._access.has_tokens:
            return RedirectResponse("/", 303)
        if request.method != "POST":
            return HTMLResponse(self._page)
        body = await read_body(request, MAX_BODY_BYTES)
        return body if isinstance(body, Response) else self._log_in(request, _token_in(body))

    async def leave(self, _: Request) -> Response:
        """Answer a request for `/logout`: the cookie is gone."""
        response = RedirectResponse("/login" if self._access.has_tokens else "/", 303)
        response.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return response

    def _log_in(self, request: Request, token: str) -> Response:
        now_s, address = time.monotonic(), client_address(request.scope)
        failures = self._access.failures
        if wait_s := failures.wait_s(address, now_s):
            return self._form("limited", 429, **{"Retry-After": str(int(wait_s) + 1)})
        role = self._access.role_of_token(token)
        if role is None:
            failures.add(address, now_s)
            return self._form("refused", 401)
        response = RedirectResponse("/", 303)
        response.set_cookie(
            COOKIE,
            self._access.new_session(role, now_s),
            max_age=SESSION_S,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return response

    def _form(self, look: str, status: int, **headers: str) -> Response:
        page = self._page.replace(b"<body>", f'<body class="{look}">'.encode())
        return HTMLResponse(page, status, headers)


def _token_in(body: bytes) -> str:
    try:
        fields = parse_qs(body.decode("utf-8", "replace"), max_num_fields=8)
    except ValueError:
        return ""
    return fields.get("token", [""])[0].strip()
