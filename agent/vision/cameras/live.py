"""Live cameras through OpenCV: network streams (FFmpeg) and USB cameras (V4L2).

Opening and reading are bounded: FFmpeg gives up after its time-outs (a silent link after three of them), V4L2
after its own select time-out, and `agent.vision.berth` watches over both. A stream that ends is lost, not
over: its camera is opened again.
"""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from agent.vision.cameras import CameraSetup, Frame
from agent.vision.cameras.credentials import address_of
from agent.vision.cameras.diagnosis import diagnose

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agent.errors import CameraError

_OPEN_TIMEOUT_MS = 5000
_READ_TIMEOUT_MS = 1500
# FFmpeg gives a silent link one to three read time-outs; what ends sooner was ended by the other side.
_STALLED_S = 0.9 * _READ_TIMEOUT_MS / 1000
# TCP, because most losses of UDP become broken pictures instead of errors.
_FFMPEG_OPTIONS = "rtsp_transport;tcp"
_EARLY = 0.5
_DECODERS: Mapping[int, str] = {
    cv2.VIDEO_ACCELERATION_NONE: "software",
    cv2.VIDEO_ACCELERATION_VAAPI: "vaapi",
    cv2.VIDEO_ACCELERATION_MFX: "mfx",
    cv2.VIDEO_ACCELERATION_DRM: "drm",
}


class LiveCamera:
    """Reads what the device sends and drops what is above the configured rate.

    Args:
        setup: The camera's set-up.
        connect: Opens the device; bounded in time.
        explain: Says why it did not open.
    """

    def __init__(
        self,
        setup: CameraSetup,
        connect: Callable[[CameraSetup], cv2.VideoCapture],
        explain: Callable[[CameraSetup], CameraError],
    ) -> None:
        self._setup = setup
        self._connect = connect
        self._explain = explain
        self._video: cv2.VideoCapture | None = None
        self._index = 0
        self._shown_ns = 0
        self._pictures = 0

    @property
    def decoder(self) -> str:
        """What decodes the pictures; see `agent.vision.cameras.Decoding`."""
        used = int(self._video.get(cv2.CAP_PROP_HW_ACCELERATION)) if self._video else 0
        return _DECODERS.get(used, f"hardware {used}")

    def open(self) -> None:
        """Connect; see `agent.vision.cameras.Camera`."""
        with self._setup.call:
            video = self._connect(self._setup)
            if not video.isOpened():
                video.release()
                raise self._explain(self._setup)
        self._video, self._pictures = video, 0

    def read(self) -> Frame | None:
        """Return the next picture; see `agent.vision.cameras.Camera`."""
        if self._video is None:
            raise self._setup.error("is not open", "camera.closed")
        while not self._setup.stop.is_set():
            started = time.perf_counter_ns()
            with self._setup.call:
                good = self._video.grab()
            if not good:
                raise self._ended((time.perf_counter_ns() - started) / 1e9)
            self._pictures += 1
            if self._due(time.monotonic_ns()):
                return self._retrieve(self._video, started)
        return None

    def close(self) -> None:
        """Disconnect."""
        if self._video is not None:
            with self._setup.call:
                self._video.release()
        self._video = None

    def _due(self, now_ns: int) -> bool:
        """Return whether the configured rate allows this picture, half an interval of jitter forgiven."""
        self._index += 1
        fps = self._setup.config.fps
        return not fps or (now_ns - self._shown_ns) * fps / 1e9 >= _EARLY

    def _retrieve(self, video: cv2.VideoCapture, started: int) -> Frame:
        good, image = video.retrieve()
        if not good:
            raise self._undecodable("sends a picture that cannot be decoded")
        frame = self._setup.frame(image, self._index, started)  # type: ignore[arg-type] # uint8
        interval_ns = int(1e9 / (self._setup.config.fps or 1e9))
        self._shown_ns = max(self._shown_ns + interval_ns, frame.captured_ns - interval_ns)
        return frame

    def _ended(self, waited_s: float) -> CameraError:
        """Return why no picture came, by how long that took."""
        if waited_s >= _STALLED_S:
            hint = "check the network; restart the camera if it hangs"
            return self._setup.error("sends no more pictures", "camera.stalled", hint)
        if not self._pictures:
            return self._undecodable("closes the connection before a picture could be decoded")
        hint = "nothing, where the camera restarts; else look at its own log"
        return self._setup.error("gives no more pictures", "camera.lost", hint)

    def _undecodable(self, problem: str) -> CameraError:
        hint = "set the camera to H.264, H.265 or MJPEG"
        return self._setup.error(problem, "camera.undecodable", hint)


def stream_camera(setup: CameraSetup) -> LiveCamera:
    """Return a camera for RTSP or HTTP through FFmpeg."""
    return LiveCamera(setup, _connect_stream, _explain_stream)


def usb_camera(setup: CameraSetup) -> LiveCamera:
    """Return a camera for `/dev/videoN` through V4L2, with as little buffered as the driver allows."""
    return LiveCamera(setup, _connect_usb, explain_device)


def _connect_stream(setup: CameraSetup) -> cv2.VideoCapture:
    os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", _FFMPEG_OPTIONS)
    settings = [
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
        _OPEN_TIMEOUT_MS,
        cv2.CAP_PROP_READ_TIMEOUT_MSEC,
        _READ_TIMEOUT_MS,
        # Takes the hardware that this build of OpenCV knows, else the processor.
        cv2.CAP_PROP_HW_ACCELERATION,
        cv2.VIDEO_ACCELERATION_ANY,
    ]
    return cv2.VideoCapture(address_of(setup), cv2.CAP_FFMPEG, settings)


def _explain_stream(setup: CameraSetup) -> CameraError:
    found = diagnose(address_of(setup))
    return setup.error(found.problem, found.code, found.hint)


def _connect_usb(setup: CameraSetup) -> cv2.VideoCapture:
    # Links such as /dev/v4l/by-id/… name a camera that may get another number each time it is plugged in.
    video = cv2.VideoCapture(str(Path(setup.config.source).resolve()), cv2.CAP_V4L2)
    video.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    if setup.config.fps:
        video.set(cv2.CAP_PROP_FPS, setup.config.fps)
    return video


def explain_device(setup: CameraSetup) -> CameraError:
    """Return why a device file does not open as a camera."""
    try:
        os.close(os.open(setup.config.source, os.O_RDWR | os.O_NONBLOCK))
    except OSError as error:
        code, hint = _DEVICE_FAULTS.get(error.errno or 0, ("camera.unreachable", ""))
        return setup.error(f"does not open: {error.strerror}", code, hint)
    hint = "name the node that gives pictures: v4l2-ctl --list-devices"
    return setup.error("gives no pictures", "camera.unreadable", hint)


_DEVICE_FAULTS: Mapping[int, tuple[str, str]] = {
    errno.ENOENT: ("camera.missing", "plug it in; it is opened as soon as it is there"),
    errno.ENODEV: ("camera.missing", "plug it in; it is opened as soon as it is there"),
    errno.ENXIO: ("camera.missing", "plug it in; it is opened as soon as it is there"),
    errno.EACCES: ("camera.forbidden", "add the agent's user to the group video"),
    errno.EPERM: ("camera.forbidden", "add the agent's user to the group video"),
    errno.EBUSY: ("camera.busy", "end the other program that uses it"),
}
