"""One signed file as the repository lists it: length, digest and the digests of its blocks. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

import msgspec
from tuf.api.metadata import TargetFile

from agent.errors import TrustError
from agent.schema.document import ready
from agent.schema.values import Sha256

MAX_SMALL_BYTES = 8 * 1024 * 1024  # a file without block digests is held in memory as one block
MAX_BLOCK_BYTES = 4 * 1024 * 1024
_PATH = re.compile(r"[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*){1,7}")
_MAX_PATH = 255


class _Blocks(msgspec.Struct, frozen=True):
    """What we read of a target's custom metadata; other fields are other readers' business."""

    block_size: Annotated[int, msgspec.Meta(gt=0, le=MAX_BLOCK_BYTES)]
    block_sha256: list[Sha256]


@dataclass(frozen=True)
class Target:
    """A file of the repository.

    Attributes:
        path: Target path, for example `models/pi5/shapes/1.0/manifest.json`.
        length: Bytes.
        sha256: Digest of the whole file, hexadecimal.
        block_size: Bytes of every block but the last, which may be shorter.
        block_sha256: Digest of each block.
    """

    path: str
    length: int
    sha256: str
    block_size: int
    block_sha256: tuple[str, ...]

    @property
    def location(self) -> str:
        """Return where the file lies in a repository with consistent snapshots (TUF 6.2)."""
        folder, _, name = self.path.rpartition("/")
        return f"targets/{folder}/{self.sha256}.{name}"

    def block_length(self, index: int) -> int:
        """Return the bytes of block `index`."""
        return min(self.block_size, self.length - index * self.block_size)


def checked_path(path: str) -> str:
    """Return a target path made of plain segments.

    Raises:
        TrustError: `trust.path`: anything else, `..`, absolute and look-alike paths included.
    """
    if len(path) > _MAX_PATH or not _PATH.fullmatch(path):
        message = f"target path {path[:60]!r}: expected 2 to 8 segments of a-z 0-9 . _ -"
        raise TrustError(message, code="trust.path")
    return path


def target_from(listed: TargetFile) -> Target:
    """Read what TUF lists of a file.

    Raises:
        TrustError: `trust.malformed`: no SHA-256, or block digests that do not cover the file.
    """
    path, length = checked_path(listed.path), listed.length
    digest = listed.hashes.get("sha256", "")
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise TrustError(f"{path}: no SHA-256 in the metadata", code="trust.malformed")
    blocks = _blocks_of(listed, digest)
    if len(blocks.block_sha256) != -(-length // blocks.block_size):
        message = f"{path}: {len(blocks.block_sha256)} block digests do not cover {length} bytes"
        raise TrustError(message, code="trust.malformed")
    return Target(path, length, digest, blocks.block_size, tuple(blocks.block_sha256))


def _blocks_of(listed: TargetFile, digest: str) -> _Blocks:
    custom = listed.custom
    if not custom or "block_size" not in custom:
        if listed.length > MAX_SMALL_BYTES:
            message = f"{listed.path}: {listed.length} bytes without block digests"
            raise TrustError(message, code="trust.malformed")
        return _Blocks(max(listed.length, 1), [digest] if listed.length else [])
    try:
        return msgspec.convert(custom, ready(_Blocks))
    except msgspec.ValidationError as error:
        raise TrustError(
            f"{listed.path}: custom metadata: {error}", code="trust.malformed"
        ) from error
