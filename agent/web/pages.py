"""A page's files, and those that all pages share (`page/`): read once, served with a tag so that a browser asks for each of them only when it changed."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

MEDIA_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
SHARED = Path(__file__).with_name("page")
INDEX = "index.html"
NOT_SERVED_AS_FILES = frozenset({"login.html"})
Answer = Callable[[Request], Awaitable[Response]]


def page_routes(folder: Path) -> list[Route]:
    """Return a route for every file of a page and those it shares; no address leads to any other file."""
    return [
        Route("/" if file.name == INDEX else f"/{file.name}", _static(file))
        for file in sorted([*folder.iterdir(), *SHARED.iterdir()])
        if file.suffix in MEDIA_TYPES and file.name not in NOT_SERVED_AS_FILES
    ]


def page_file(name: str) -> bytes:
    """Return the content of one of the shared files."""
    return (SHARED / name).read_bytes()


def _static(file: Path) -> Answer:
    content = file.read_bytes()
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    media_type = MEDIA_TYPES[file.suffix]

    async def answer(request: Request) -> Response:
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=media_type, headers=headers)

    return answer
