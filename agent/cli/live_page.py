"""A page on this machine that shows pictures as they come: `vigil detect --show`.

OpenCV's headless wheel opens no windows, so the browser is the window. The stream is
`multipart/x-mixed-replace`, which every browser shows as a moving picture.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import webbrowser
from collections.abc import AsyncIterator
from types import TracebackType

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route
from typing_extensions import Self

from agent.schema.messages import Role
from agent.web.access import Access
from agent.web.guard import Guard, host_check

_HOST = "127.0.0.1"
_LOOK_S = 0.03
_STOP_S = 3.0
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>vigil detect</title>
<img src="/pictures" alt="What the model finds">
</html>
"""


def open_page(url: str) -> None:
    """Open the page where there is a desktop: elsewhere a text browser would take the terminal."""
    if os.environ.keys() & {"DISPLAY", "WAYLAND_DISPLAY"}:
        webbrowser.open(url)


class LivePage:
    """Serves the newest picture on loopback while it is entered.

    Example:
        with LivePage() as page:
            print(page.url)
            page.show(jpeg)
    """

    def __init__(self) -> None:
        self._newest = b""
        routes = [Route("/", _index), Route("/pictures", self._stream)]
        app = Guard(Starlette(routes=routes), host_check(_HOST), Access({}, Role.VIEWER))
        config = uvicorn.Config(
            app, log_config=None, log_level="warning", timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)
        self._listener = socket.create_server((_HOST, 0))
        self._thread = threading.Thread(
            target=self._server.run, args=([self._listener],), name="live-page", daemon=True
        )

    @property
    def url(self) -> str:
        """The page's address."""
        return f"http://{_HOST}:{self._listener.getsockname()[1]}/"

    def show(self, jpeg: bytes) -> None:
        """Show this picture to whoever looks, in place of the one before."""
        self._newest = jpeg

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.should_exit = True
        self._thread.join(_STOP_S)
        self._listener.close()

    async def _stream(self, _request: Request) -> Response:
        return StreamingResponse(
            self._parts(), media_type="multipart/x-mixed-replace; boundary=picture"
        )

    async def _parts(self) -> AsyncIterator[bytes]:
        shown = b""
        while not self._server.should_exit:
            if (newest := self._newest) is not shown:
                shown = newest
                head = (
                    f"--picture\r\nContent-Type: image/jpeg\r\nContent-Length: {len(shown)}\r\n\r\n"
                )
                yield head.encode() + shown + b"\r\n"
            await asyncio.sleep(_LOOK_S)


async def _index(_request: Request) -> Response:
    return HTMLResponse(_PAGE)
