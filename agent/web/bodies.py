"""Reading a request's body: bounded in bytes and in time, whether its length was announced or not."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from agent.web.answers import refusal

BODY_S = 10.0


async def read_body(request: Request, limit: int) -> bytes | Response:
    """Return the body, or the refusal of one that is too large or takes too long."""
    try:
        body = await asyncio.wait_for(_within(request, limit), BODY_S)
    except asyncio.TimeoutError:
        return refusal(408, "body", "the body took too long to arrive", Connection="close")
    return refusal(413, "body", f"a body may have at most {limit} bytes") if body is None else body


async def _within(request: Request, limit: int) -> bytes | None:
    """Return the body; None when it grows beyond the limit (a chunked one has no length to check before)."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            return None
    return body
