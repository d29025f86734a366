"""The page's own files: read once, served with a tag so that a browser asks for each of them only when it changed."""

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
FOLDER = Path(__file__).with_name("page")
INDEX = "index.html"
NOT_SERVED_AS_FILES = frozenset({"login.html"})
Answer = Callable[[Request], Awaitable[Response]]


def page_routes() -> list[Route]:
    """Return a route for every file of the page; there is no way from an address to any other file."""
    names = sorted(file.name for file in FOLDER.iterdir())
    return [
        Route("/" if name == INDEX else f"/{name}", _static(name))
        for name in names
        if Path(name).suffix in MEDIA_TYPES and name not in NOT_SERVED_AS_FILES
    ]


def page_file(name: str) -> bytes:
    """Return the content of one of the page's files."""
    return (FOLDER / name).read_bytes()


def _static(name: str) -> Answer:
    content = page_file(name)
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    media_type = MEDIA_TYPES[Path(name).suffix]

    async def answer(request: Request) -> Response:
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=media_type, headers=headers)

    return answer
