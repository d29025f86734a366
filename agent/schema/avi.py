"""Motion JPEG in an AVI file: JPEGs one after the other with a header and an index, nothing encoded anew.

Format: https://learn.microsoft.com/en-us/windows/win32/directshow/avi-riff-file-reference
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from agent.schema.document import Malformed

_HAS_INDEX = 0x10
_KEY_FRAME = 0x10
_FRAME_ID = b"00dc"
_RATE_SCALE = 1000
# Where the list of frames starts in what `write_avi` writes: RIFF header, header list, its own header.
_CHUNK = struct.Struct("<4sI")


@dataclass(frozen=True)
class Film:
    """Pictures (JPEG) of one size, shown at `fps` frames a second."""

    frames: Sequence[bytes]
    width: int
    height: int
    fps: float


def write_avi(film: Film) -> bytes:
    """Return the film as an AVI file; at least one frame."""
    movie, index, offset = [b"movi"], [], 4
    for jpeg in film.frames:
        chunk = _chunk(_FRAME_ID, jpeg)
        index.append(struct.pack("<4sIII", _FRAME_ID, _KEY_FRAME, offset, len(jpeg)))
        movie.append(chunk)
        offset += len(chunk)
    body = _headers(film) + _chunk(b"LIST", b"".join(movie)) + _chunk(b"idx1", b"".join(index))
    return _chunk(b"RIFF", b"AVI " + body)


def read_avi(data: bytes) -> Film:
    """Return the film in a file as `write_avi` writes it.

    Raises:
        Malformed: It is none, or cut off.
    """
    if data[:4] != b"RIFF" or data[8:12] != b"AVI ":
        raise Malformed("byte 0", "expected an AVI file, found something else")
    try:
        micros, width, height = _main_header(data)
        frames = [body for kind, body in _frames(data) if kind == _FRAME_ID]
    except (struct.error, ValueError) as error:
        raise Malformed("byte 12", f"expected a whole AVI file, found {error}") from error
    return Film(frames, width, height, 1e6 / micros if micros else 0.0)


def _headers(film: Film) -> bytes:
    largest = max(len(jpeg) for jpeg in film.frames)
    count = len(film.frames)
    main = struct.pack(
        "<14I", round(1e6 / film.fps), 0, 0, _HAS_INDEX, count, 0, 1, largest,
        film.width, film.height, 0, 0, 0, 0,
    )  # fmt: skip
    stream = struct.pack(
        "<4s4sIHHIIIIIIII4H", b"vids", b"MJPG", 0, 0, 0, 0, _RATE_SCALE,
        round(film.fps * _RATE_SCALE), 0, count, largest, 0xFFFFFFFF, 0,
        0, 0, film.width & 0xFFFF, film.height & 0xFFFF,
    )  # fmt: skip
    picture = struct.pack(
        "<IiiHH4sIiiII", 40, film.width, film.height, 1, 24, b"MJPG",
        film.width * film.height * 3, 0, 0, 0, 0,
    )  # fmt: skip
    streams = _chunk(b"LIST", b"strl" + _chunk(b"strh", stream) + _chunk(b"strf", picture))
    return _chunk(b"LIST", b"hdrl" + _chunk(b"avih", main) + streams)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return _CHUNK.pack(kind, len(body)) + body + b"\0" * (len(body) % 2)


def _chunks(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, begin and end of the chunks between two places."""
    while start + _CHUNK.size <= end:
        kind, size = _CHUNK.unpack_from(data, start)
        begin = start + _CHUNK.size
        if begin + size > end:
            raise ValueError(f"a chunk that ends {begin + size - end} bytes behind it")
        yield kind, begin, begin + size
        start = begin + size + size % 2


def _frames(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    for kind, begin, end in _chunks(data, 12, len(data)):
        if kind == b"LIST" and data[begin : begin + 4] == b"movi":
            for inner, first, last in _chunks(data, begin + 4, end):
                yield inner, data[first:last]


def _main_header(data: bytes) -> tuple[int, int, int]:
    place = data.index(b"avih") + _CHUNK.size
    fields = struct.unpack_from("<14I", data, place)
    return fields[0], fields[8], fields[9]
