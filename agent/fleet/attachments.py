"""Files that devices send in replies, put together from their parts. Pure."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from agent.errors import TransferError


def put_together(parts: Sequence[dict[str, Any]]) -> tuple[str, bytes]:
    """Return name and bytes of an attachment that came in `parts`, in any order.

    Raises:
        TransferError: A part is missing or is not what the device sent.
    """
    try:
        ordered = sorted(parts, key=lambda part: int(part["part"]))
        data = b"".join(base64.b64decode(part["base64"], validate=True) for part in ordered)
        name, digest = str(ordered[0]["name"]), ordered[0]["sha256"]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise TransferError("an attachment of the reply cannot be read; ask again") from error
    if hashlib.sha256(data).hexdigest() != digest:
        raise TransferError(f"{name}: a part did not come whole; ask again")
    return PurePosixPath(name).name or "attachment", data
