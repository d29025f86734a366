"""The block protocol: pulling a file from the controller in pieces over plain MQTT.

Request (`…/blk/req`, JSON): which bytes of which file, and a correlation id.
Reply (`…/blk/rsp`, binary): fixed header, then the bytes. Numbers are big-endian.
Source of the rules: UPDATE_NOTES 3.2; the controller answers only on the asking device's own topic.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from agent.errors import TransferError
from agent.schema.values import Counter, Positive, Struct

BLOCK_BYTES = 128 * 1024
WINDOW = 8
MAX_BLOCK_BYTES = 256 * 1024
OK, BAD_REQUEST, NOT_FOUND, OUT_OF_RANGE, BUSY = 200, 400, 404, 416, 503
_HEADER = struct.Struct(">8sHQQ")


class BlockRequest(Struct):
    """Ask for `l` bytes at offset `o` of path `p`; `id` is 16 hexadecimal digits."""

    id: str
    p: str
    o: Counter
    l: Positive  # noqa: E741 - wire name, chosen short


@dataclass(frozen=True)
class BlockReply:
    """One block: `status`, its `offset` in the file, the file's `total` bytes (retry-after ms when BUSY)."""

    id: bytes
    status: int
    offset: int
    total: int
    data: bytes

    def encode(self) -> bytes:
        """Return the wire form."""
        return _HEADER.pack(self.id, self.status, self.offset, self.total) + self.data

    @classmethod
    def decode(cls, payload: bytes) -> BlockReply:
        """Read the wire form.

        Raises:
            TransferError: Shorter than its header.
        """
        if len(payload) < _HEADER.size:
            message = f"block reply: expected at least {_HEADER.size} bytes, found {len(payload)}"
            raise TransferError(message, code="transfer.malformed")
        identity, status, offset, total = _HEADER.unpack_from(payload)
        return cls(identity, status, offset, total, payload[_HEADER.size :])
