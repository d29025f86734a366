"""A candidate model beside the running one: how far the comparison is, what it found, and its pictures."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from agent.console.kept import jpeg_answer
from agent.console.sources import Comparison
from agent.web.answers import json_answer


class Candidate:
    """Answers for the newest shadow run.

    Args:
        comparison: Where it is known; None where there is none.
    """

    def __init__(self, comparison: Comparison | None) -> None:
        self._comparison = comparison

    def routes(self) -> list[Route]:
        """Return the addresses."""
        return [Route("/api/shadow", self._view), Route("/shadow/{file}", self._picture)]

    async def _view(self, _: Request) -> Response:
        found = await run_in_threadpool(self._comparison.view) if self._comparison else None
        return json_answer({"run": found})

    async def _picture(self, request: Request) -> Response:
        read, file = self._comparison, request.path_params["file"]
        return jpeg_answer(await run_in_threadpool(read.picture, file) if read else None)
