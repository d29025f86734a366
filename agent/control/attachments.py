"""Bytes in replies: cut into parts that each fit the broker, with a digest to put them together by. Pure."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

ENVELOPE_BYTES = 2048  # what a reply needs beside the base64 of one part


def part_bytes(limit_bytes: int) -> int:
    """Return how many bytes fit one reply of at most `limit_bytes`."""
    return max(1, (limit_bytes - ENVELOPE_BYTES) // 4 * 3)


def attach(name: str, data: bytes, limit_bytes: int) -> list[dict[str, Any]]:
    """Return the `attachment` of each reply that together carry `data`; each has name, size and digest of all.

    Args:
        name: What to call the file.
        data: Its bytes.
        limit_bytes: Greatest size of one reply.
    """
    step = part_bytes(limit_bytes)
    pieces = [data[at : at + step] for at in range(0, len(data), step)] or [b""]
    digest = hashlib.sha256(data).hexdigest()
    return [
        {
            "name": name,
            "bytes": len(data),
            "sha256": digest,
            "part": number,
            "parts": len(pieces),
            "base64": base64.b64encode(piece).decode(),
        }
        for number, piece in enumerate(pieces, start=1)
    ]
