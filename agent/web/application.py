"""One page as a Starlette application: its files, the way in and out, its addresses, and how errors are answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from agent.errors import VigilError
from agent.web.access import Access
from agent.web.answers import refusal
from agent.web.login import Login
from agent.web.pages import page_file, page_routes


def page_application(
    folder: Path, access: Access, routes: Sequence[BaseRoute], explain: Callable[[VigilError], str]
) -> Starlette:
    """Return the application; every request must still pass `agent.web.guard.Guard`.

    Args:
        folder: The page's own files.
        access: Who may log in.
        routes: What this page answers beside its files.
        explain: What somebody who looks may be told of an error.
    """

    async def error_answer(_: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException):
            return refusal(error.status_code, "http", error.detail)
        if isinstance(error, VigilError):
            return refusal(503, error.code, explain(error))
        raise error

    login = Login(access, page_file("login.html"))
    entrance = [
        Route("/login", login.answer, methods=["GET", "POST"]),
        Route("/logout", login.leave, methods=["POST"]),
    ]
    handlers = dict.fromkeys((VigilError, HTTPException), error_answer)
    return Starlette(routes=[*page_routes(folder), *entrance, *routes], exception_handlers=handlers)
