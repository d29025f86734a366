"""A video file, shown at its own rate as a live source or as fast as it is read, over and over where configured."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from agent.vision.cameras import CameraSetup, Frame
from agent.vision.cameras.pace import Pace

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Seeking costs decoding from the last key frame; up to this far it is cheaper to read on.
_READ_ON_FRAMES = 60
_ENDLESS = 2**31


@dataclass
class _Film:
    """An open file: `position` is the frame that the next read decodes."""

    video: cv2.VideoCapture
    fps: float
    frames: int
    position: int = 0


class FileCamera:
    """See the module; `Frame.index` is the frame's number in the file."""

    def __init__(self, setup: CameraSetup) -> None:
        self._setup = setup
        self._film: _Film | None = None
        self._last_tick = -1

    def open(self) -> None:
        """Open the file; see `agent.vision.cameras.Camera`."""
        config = self._setup.config
        if not Path(config.source).is_file():
            raise self._setup.error("is not there", "camera.missing")
        with self._setup.call:
            video = cv2.VideoCapture(config.source, cv2.CAP_FFMPEG)
        fps = video.get(cv2.CAP_PROP_FPS) if video.isOpened() else 0.0
        frames = int(video.get(cv2.CAP_PROP_FRAME_COUNT)) if video.isOpened() else 0
        if not video.isOpened():
            video.release()
            raise self._setup.error("is no video that can be read", "camera.unreadable")
        fps = fps if 0 < fps < 1000 else self._setup.default_fps  # noqa: PLR2004 - plausible rates
        # A bare stream of pictures does not know its length; reading to its end shows it.
        self._film = _Film(video, fps, frames if frames > 0 else _ENDLESS)

    def read(self) -> Frame | None:
        """Wait for the next frame that is due and decode it; see `agent.vision.cameras.Camera`."""
        film = self._opened()
        rate = min(self._setup.config.fps or film.fps, film.fps)
        tick = self._wait_for_tick(Pace(rate, self._setup.epoch_ns))
        if tick is None:
            return None
        self._last_tick = tick
        started = time.perf_counter_ns()
        number = int(tick * film.fps / rate)
        if number >= film.frames and not self._setup.config.loop:
            return None
        with self._setup.call:
            image = self._decode(film, number % film.frames)
        if image is None:
            return None
        return self._setup.frame(image, film.position - 1, started)

    def close(self) -> None:
        """Close the file."""
        if self._film:
            self._film.video.release()
        self._film = None

    def _wait_for_tick(self, pace: Pace) -> int | None:
        """Return the tick to show now; None when the camera is stopped before it is due."""
        if not self._setup.config.paced:
            return self._last_tick + 1
        return self._setup.wait_for_tick(pace, self._last_tick)

    def _decode(self, film: _Film, number: int) -> NDArray[np.uint8] | None:
        """Return frame `number`, reading on or seeking; None at the true end of a film that is shown once."""
        if not film.position <= number <= film.position + _READ_ON_FRAMES:
            self._seek(film, number)
        while film.position < number and film.video.grab():
            film.position += 1
        good, image = film.video.read()
        if not good and film.position:
            film.frames = film.position
            if not self._setup.config.loop:
                return None
            self._seek(film, 0)
            good, image = film.video.read()
        if not good:
            raise self._setup.error("cannot be decoded", "camera.unreadable")
        film.position += 1
        return image  # type: ignore[return-value] # cv2 cannot say that frames are uint8

    @staticmethod
    def _seek(film: _Film, number: int) -> None:
        film.video.set(cv2.CAP_PROP_POS_FRAMES, number)
        film.position = number

    def _opened(self) -> _Film:
        if self._film is None:
            raise self._setup.error("is not open", "camera.closed")
        return self._film
