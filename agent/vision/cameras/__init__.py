"""Cameras: where frames come from, behind one Protocol and one table of lazy imports.

A camera is used by one thread: open, read until it ends or fails, close; then perhaps open again. Reads are
bounded in time. Credentials in a source never appear in a message.

Third parties add a kind by an entry point of the group `vigil.cameras`; its sources are `<kind>:…`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast
from urllib.parse import urlsplit

from agent.errors import CameraError, ConfigError
from agent.host.plugins import load_plugin

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from agent.schema.config import CameraConfig

CAMERAS: Mapping[str, str] = {
    "file": "agent.vision.cameras.file:FileCamera",
    "folder": "agent.vision.cameras.folder:FolderCamera",
    "stream": "agent.vision.cameras.live:stream_camera",
    "usb": "agent.vision.cameras.live:usb_camera",
    "pattern": "agent.vision.cameras.pattern:PatternCamera",
}
CAMERA_GROUP = "vigil.cameras"
_STREAM_SCHEMES = frozenset({"rtsp", "rtsps", "http", "https"})


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


@dataclass(frozen=True)
class CameraSetup:
    """What a camera is made from.

    Attributes:
        config: The operator's entry.
        epoch_ns: Monotonic instant at which looping sources were at frame 0.
        default_fps: Frame rate for sources that have none of their own.
        stop: Set when the camera's thread shall end; waits must heed it.
    """

    config: CameraConfig
    epoch_ns: int
    default_fps: float
    stop: threading.Event


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
            hint="a file, a folder, /dev/videoN, an rtsp:// or http:// URL, or pattern:",
        ) from error
    return cast("Camera", factory(setup))


def kind_of(source: str) -> str:
    """Return the name in `CAMERAS` (or of an entry point) that a source calls for."""
    scheme, colon, _ = source.partition(":")
    if source.startswith("/dev/video"):
        return "usb"
    if colon and scheme.lower() in _STREAM_SCHEMES:
        return "stream"
    if colon and "/" not in scheme:
        return scheme
    return "folder" if Path(source).is_dir() else "file"


def redact(source: str) -> str:
    """Return a source without user, password and query, for people and logs."""
    if "://" not in source:
        return source
    try:
        parts = urlsplit(source)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return source.partition("://")[0] + "://…"
    return f"{parts.scheme}://{parts.hostname or '…'}{port}{parts.path}"
