"""Live cameras through OpenCV: network streams (FFmpeg) and USB cameras (V4L2).

Opening and reading are bounded: FFmpeg gives up after its time-outs (a silent link after three of them), V4L2
after its own select time-out. A stream that ends is lost, not over: its camera is opened again.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import cv2

from agent.errors import CameraError
from agent.host.clock import monotonic_ns, wall_ms
from agent.vision.cameras import CameraSetup, Frame, redact

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.schema.config import CameraConfig

_OPEN_TIMEOUT_MS = 5000
_READ_TIMEOUT_MS = 1500
# TCP, because most losses of UDP become broken pictures instead of errors.
_FFMPEG_OPTIONS = "rtsp_transport;tcp"
_EARLY = 0.5


class LiveCamera:
    """Reads what the device sends and drops what is above the configured rate.

    Args:
        setup: The camera's set-up.
        connect: Opens the device; bounded in time.
    """

    def __init__(
        self, setup: CameraSetup, connect: Callable[[CameraConfig], cv2.VideoCapture]
    ) -> None:
        self._setup = setup
        self._connect = connect
        self._video: cv2.VideoCapture | None = None
        self._index = 0
        self._shown_ns = 0

    def open(self) -> None:
        """Connect; see `agent.vision.cameras.Camera`."""
        video = self._connect(self._setup.config)
        if not video.isOpened():
            video.release()
            raise self._error("does not open", "camera.unreachable")
        self._video = video

    def read(self) -> Frame | None:
        """Return the next picture; see `agent.vision.cameras.Camera`."""
        if self._video is None:
            raise self._error("is not open", "camera.closed")
        while not self._setup.stop.is_set():
            started = time.perf_counter_ns()
            if not self._video.grab():
                raise self._error("gives no more pictures", "camera.lost")
            now_ns = monotonic_ns()
            if self._due(now_ns):
                return self._retrieve(self._video, now_ns, started)
        return None

    def close(self) -> None:
        """Disconnect."""
        if self._video is not None:
            self._video.release()
        self._video = None

    def _due(self, now_ns: int) -> bool:
        """Return whether the configured rate allows this picture, half an interval of jitter forgiven."""
        self._index += 1
        fps = self._setup.config.fps
        return not fps or (now_ns - self._shown_ns) * fps / 1e9 >= _EARLY

    def _retrieve(self, video: cv2.VideoCapture, now_ns: int, started: int) -> Frame:
        good, image = video.retrieve()
        if not good:
            raise self._error("sends a picture that cannot be decoded", "camera.lost")
        interval_ns = int(1e9 / (self._setup.config.fps or 1e9))
        self._shown_ns = max(self._shown_ns + interval_ns, now_ns - interval_ns)
        taken = (time.perf_counter_ns() - started) / 1e6
        return Frame(image, self._index, wall_ms(), now_ns, taken)  # type: ignore[arg-type] # uint8

    def _error(self, problem: str, code: str) -> CameraError:
        config = self._setup.config
        return CameraError(f"camera {config.name}: {redact(config.source)} {problem}", code=code)


def stream_camera(setup: CameraSetup) -> LiveCamera:
    """Return a camera for RTSP or HTTP through FFmpeg."""
    return LiveCamera(setup, _connect_stream)


def usb_camera(setup: CameraSetup) -> LiveCamera:
    """Return a camera for `/dev/videoN` through V4L2, with as little buffered as the driver allows."""
    return LiveCamera(setup, _connect_usb)


def _connect_stream(config: CameraConfig) -> cv2.VideoCapture:
    os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", _FFMPEG_OPTIONS)
    limits = [
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
        _OPEN_TIMEOUT_MS,
        cv2.CAP_PROP_READ_TIMEOUT_MSEC,
        _READ_TIMEOUT_MS,
    ]
    return cv2.VideoCapture(config.source, cv2.CAP_FFMPEG, limits)


def _connect_usb(config: CameraConfig) -> cv2.VideoCapture:
    video = cv2.VideoCapture(config.source, cv2.CAP_V4L2)
    video.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    if config.fps:
        video.set(cv2.CAP_PROP_FPS, config.fps)
    return video
