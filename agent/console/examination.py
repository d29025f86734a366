"""Asking the doctor for the page: one examination at a time, its result shared for a while."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response

from agent.errors import VigilError
from agent.schema.doctor import DoctorReport
from agent.web.answers import json_answer, refusal

FRESH_S = 15.0
Outcome = DoctorReport | VigilError


class Examination:
    """Answers for `/api/doctor`.

    Args:
        doctor: Examines the device, which takes seconds to minutes; None where nobody can.
    """

    def __init__(self, doctor: Callable[[], DoctorReport] | None) -> None:
        self._doctor = doctor
        self._lock = asyncio.Lock()
        self._due_s = float("-inf")
        self._newest: Outcome | None = None

    async def answer(self, _: Request) -> Response:
        """Answer with what the doctor finds now, or found moments ago."""
        if self._doctor is None:
            return refusal(404, "doctor", "the doctor cannot be asked here; run: vigil doctor")
        loop = asyncio.get_running_loop()
        async with self._lock:
            if self._newest is None or loop.time() >= self._due_s:
                self._newest = await _in_thread(self._doctor)
                self._due_s = loop.time() + FRESH_S
            found = self._newest
        if isinstance(found, VigilError):
            return refusal(503, found.code, found.message)
        return json_answer(found)


async def _in_thread(doctor: Callable[[], DoctorReport]) -> Outcome:
    """Run in a thread that the agent need not wait for when it stops, as those of a pool must be."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[Outcome] = loop.create_future()

    def settle(found: Outcome) -> None:
        if not outcome.done():
            outcome.set_result(found)

    def tell(found: Outcome) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, found)

    def examine() -> None:
        try:
            tell(doctor())
        except VigilError as error:
            tell(error)

    threading.Thread(target=examine, name="doctor", daemon=True).start()
    return await outcome
