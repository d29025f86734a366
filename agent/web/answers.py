"""Small things that several addresses answer with."""

from __future__ import annotations

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

MAX_DIGITS = 15


def refusal(status: int, code: str, message: str, **headers: str) -> Response:
    """Return an error answer: JSON with a stable code and one line for a person."""
    return JSONResponse({"code": code, "message": message}, status, headers or None)


def json_answer(value: object, status: int = 200) -> Response:
    """Return `value` as JSON."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def number_in(request: Request, name: str, default: int = 0) -> int:
    """Return a number of the query.

    Raises:
        HTTPException: 400, it is none.
    """
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS):
        raise HTTPException(400, f"expected a number in ?{name}=")
    return int(text)
