"""Clips: a ring of small JPEGs of one camera, from which every event cuts its own piece.

A frame is encoded once for all events, `fps` times a second at most. Without an open event only the pre-roll
is kept. Times are monotonic milliseconds.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from agent.schema.avi import Film, write_avi
from agent.schema.events import MAX_CLIP_BYTES
from agent.vision.picture import encode_jpeg, fitting_size

if TYPE_CHECKING:
    from agent.schema.recording import ClipConfig
    from agent.vision.privacy import SafePicture

# What the ring may hold; the container around the frames needs a little more.
_MAX_RING_BYTES = MAX_CLIP_BYTES - 2**20
_EARLY = 0.8
# An object is announced some frames after it appeared, and the pre-roll counts from its appearance.
_ANNOUNCED_AFTER_MS = 2000.0


class _Kept(NamedTuple):
    at_ms: float
    jpeg: bytes
    size: tuple[int, int]


@dataclass
class _Span:
    """The piece that one event wants; `until_ms` grows while the object is there."""

    from_ms: float
    until_ms: float


class ClipRing:
    """Keeps what clips are cut from; does nothing where clips are off."""

    def __init__(self, config: ClipConfig) -> None:
        self._config = config
        self._frames: deque[_Kept] = deque()
        self._bytes = 0
        self._spans: dict[str, _Span] = {}

    @property
    def enabled(self) -> bool:
        """Whether clips are made."""
        return self._config.enabled

    def add(self, picture: SafePicture, now_ms: float) -> None:
        """Keep a picture if one is due."""
        every_ms = 1000 / self._config.fps
        recent = self._frames[-1].at_ms if self._frames else None
        if not self.enabled or (recent is not None and now_ms - recent < _EARLY * every_ms):
            return
        jpeg = encode_jpeg(picture, self._config.max_width, self._config.quality)
        self._frames.append(_Kept(now_ms, jpeg, fitting_size(picture, self._config.max_width)))
        self._bytes += len(jpeg)
        self._trim(now_ms)

    def begin(self, event: str, start_ms: float) -> None:
        """An object appeared at `start_ms`."""
        if self.enabled:
            longest_ms = start_ms + self._config.max_s * 1000
            self._spans[event] = _Span(start_ms - self._config.pre_s * 1000, longest_ms)

    def finish(self, event: str, now_ms: float) -> None:
        """An object is gone; its clip ends after the post-roll."""
        span = self._spans.get(event)
        if span is not None:
            span.until_ms = min(span.until_ms, now_ms + self._config.post_s * 1000)

    def ready(self, now_ms: float) -> list[tuple[str, bytes]]:
        """Return the clips, by event, whose time is over, as AVI files."""
        over = [event for event, span in self._spans.items() if now_ms >= span.until_ms]
        clips = [(event, self._cut(self._spans.pop(event))) for event in over]
        self._trim(now_ms)
        return [(event, clip) for event, clip in clips if clip]

    def rest(self) -> list[tuple[str, bytes]]:
        """Return all clips as far as they are: the camera closes or is lost."""
        return self.ready(float("inf"))

    def _cut(self, span: _Span) -> bytes:
        frames = [one for one in self._frames if span.from_ms <= one.at_ms <= span.until_ms]
        frames = [one for one in frames if one.size == frames[-1].size]
        if not frames:
            return b""
        seconds = (frames[-1].at_ms - frames[0].at_ms) / 1000
        fps = (len(frames) - 1) / seconds if seconds > 0 else self._config.fps
        width, height = frames[-1].size
        return write_avi(Film([one.jpeg for one in frames], width, height, max(fps, 0.1)))

    def _trim(self, now_ms: float) -> None:
        oldest_ms = now_ms - self._config.pre_s * 1000 - _ANNOUNCED_AFTER_MS
        wanted_ms = min([oldest_ms, *(span.from_ms for span in self._spans.values())])
        while self._frames and (self._frames[0].at_ms < wanted_ms or self._bytes > _MAX_RING_BYTES):
            self._bytes -= len(self._frames.popleft().jpeg)
