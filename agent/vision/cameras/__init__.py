"""Cameras: where frames come from, behind one Protocol and one table of lazy imports.

A camera is used by one thread: open, read until it ends or fails, close; then perhaps open again. Reads are
bounded in time. Credentials in a source never appear in a message.

Third parties add a kind by an entry point of the group `vigil.cameras`; its sources are `<kind>:…`.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable
from urllib.parse import urlsplit

from agent.errors import CameraError, ConfigError
from agent.host.clock import CaptureClock, monotonic_ns
from agent.host.plugins import load_plugin
from agent.vision.cameras.pace import wait_until

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from agent.schema.config import CameraConfig
    from agent.vision.cameras.pace import Pace

CAMERAS: Mapping[str, str] = {
    "file": "agent.vision.cameras.file:FileCamera",
    "folder": "agent.vision.cameras.folder:FolderCamera",
    "stream": "agent.vision.cameras.live:stream_camera",
    "usb": "agent.vision.cameras.live:usb_camera",
    "csi": "agent.vision.cameras.csi:csi_camera",
    "gst": "agent.vision.cameras.gstreamer:GstCamera",
    "pattern": "agent.vision.cameras.pattern:PatternCamera",
}
CAMERA_GROUP = "vigil.cameras"
_STREAM_SCHEMES = frozenset({"rtsp", "rtsps", "http", "https"})
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"']*")
# Properties of GStreamer's elements that hold secrets.
_SECRET = re.compile(r"\b(user-id|user-pw|user|password|token)=(\"[^\"]*\"|\S+)", re.IGNORECASE)


@dataclass(frozen=True)
class Frame:
    """One picture.

    Attributes:
        image: BGR, shape (H, W, 3), uint8; nobody writes to it.
        index: The source's own frame number where it has one, else a counter.
        captured_ms: Wall time of capture, Unix milliseconds.
        captured_ns: The same instant, CLOCK_MONOTONIC.
        capture_ms: What reading and decoding it took.
    """

    image: NDArray[np.uint8]
    index: int
    captured_ms: int
    captured_ns: int
    capture_ms: float


class Call:
    """A call into a library, timed from outside: a context of the camera's thread, read by any."""

    def __init__(self) -> None:
        self._began_ns = 0

    def __enter__(self) -> None:
        self._began_ns = monotonic_ns()

    def __exit__(self, *_: object) -> None:
        self._began_ns = 0

    def age_s(self) -> float:
        """Return for how many seconds the call has lasted; 0 outside of one."""
        began_ns = self._began_ns
        return (monotonic_ns() - began_ns) / 1e9 if began_ns else 0.0


@dataclass(frozen=True)
class CameraSetup:
    """What a camera is made from.

    Attributes:
        config: The operator's entry.
        epoch_ns: Monotonic instant at which looping sources were at frame 0.
        default_fps: Frame rate for sources that have none of their own.
        stop: Set when the camera's thread shall end; waits must heed it.
        call: Round every call into a library that may hang: `with setup.call:`.
        clock: Gives frames their time, and recordings their present.
    """

    config: CameraConfig
    epoch_ns: int
    default_fps: float
    stop: threading.Event
    call: Call = field(default_factory=Call)
    clock: CaptureClock = field(default_factory=CaptureClock)

    def frame(self, image: NDArray[np.uint8], index: int, started_ns: int) -> Frame:
        """Return a picture as the frame of now; reading it began at `started_ns` (`time.perf_counter_ns`)."""
        taken_ms = (time.perf_counter_ns() - started_ns) / 1e6
        captured_ms, captured_ns = self.clock.stamp()
        return Frame(image, index, captured_ms, captured_ns, taken_ms)

    def wait_for_tick(self, pace: Pace, last: int) -> int | None:
        """Return the tick of a recording to show after `last`, once it is due; None when stopped before."""
        now_ns = self.clock.now_ns()
        tick = pace.next_tick(last, now_ns)
        return tick if wait_until(pace.due_ns(tick), now_ns, self.stop) else None

    def error(self, problem: str, code: str, hint: str = "") -> CameraError:
        """Return an error that names the camera and its source, without secrets."""
        message = f"camera {self.config.name}: {redact(self.config.source)} {problem}"
        return CameraError(message, code=code, hint=hint)


class Camera(Protocol):
    """One source of frames; made once, opened and closed any number of times."""

    def open(self) -> None:
        """Connect.

        Raises:
            CameraError: It is not there, refuses, or does not answer in time.
        """
        ...

    def read(self) -> Frame | None:
        """Return the next frame, waiting for it where the source is live; None when it has ended or stops.

        Raises:
            CameraError: The connection is lost.
        """
        ...

    def close(self) -> None:
        """Disconnect; does nothing when not connected."""
        ...


@runtime_checkable
class Decoding(Protocol):
    """What a camera may also tell."""

    @property
    def decoder(self) -> str:
        """What decodes its pictures: `software`, or the name of the hardware's interface."""
        ...


def open_camera(setup: CameraSetup) -> Camera:
    """Return the camera, not yet connected, for the source in its configuration.

    Raises:
        CameraError: `camera.unknown` when no kind of camera takes such a source.
    """
    try:
        factory = load_plugin(CAMERAS, kind_of(setup.config.source), CAMERA_GROUP)
    except ConfigError as error:
        raise CameraError(
            f"camera {setup.config.name}: {redact(setup.config.source)!r} is no known kind of source",
            code="camera.unknown",
            hint="a file, a folder, /dev/videoN, an rtsp:// or http:// URL, csi:N, gst:PIPELINE, or pattern:",
        ) from error
    return cast("Camera", factory(setup))


def kind_of(source: str) -> str:
    """Return the name in `CAMERAS` (or of an entry point) that a source calls for."""
    scheme, colon, _ = source.partition(":")
    if source.startswith("/dev/"):
        return "usb"
    if colon and scheme.lower() in _STREAM_SCHEMES:
        return "stream"
    if colon and "/" not in scheme:
        return scheme
    return "folder" if Path(source).is_dir() else "file"


def redact(source: str) -> str:
    """Return a source without users, passwords and queries, for people and logs."""
    shown = _SECRET.sub(r"\1=…", _URL.sub(lambda found: _bare(found[0]), source))
    # What is left of an address that cannot be read may still hold its user.
    return re.sub(r"(://)[^/\s]*@", r"\1", shown)


def _bare(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return url.partition("://")[0] + "://…"
    return f"{parts.scheme}://{parts.hostname or '…'}{port}{parts.path}"
