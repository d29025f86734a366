"""Pictures one after the other, of files, folders, videos and live cameras, and drawing on them."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from agent.errors import CameraError
from agent.host.clock import monotonic_ns
from agent.host.disk import REAL_DISK
from agent.schema.config import CameraConfig
from agent.schema.values import Outline, RotatedBox, Shape, Skeleton
from agent.vision.camera_record import CameraRecord
from agent.vision.cameras import CameraSetup, Frame, kind_of
from agent.vision.cameras.folder import IMAGE_SUFFIXES, pictures_in
from agent.vision.capture import CaptureLoop
from agent.vision.mailbox import Mailbox

_GREEN_BGR = (80, 220, 60)
_ORANGE_BGR = (40, 140, 255)
# Least score of a key point that is drawn.
_SURE = 0.5
_RECORDED = frozenset({"file", "folder"})
_PATTERN_FPS = 15.0
_OVER = frozenset({"failed", "ended"})
_TAKE_S = 0.2
_JOIN_S = 2.0


class Picture(NamedTuple):
    """One input: `image` is BGR, shape (H, W, 3), uint8; `frame` its number in a video, 0 for pictures.

    `source` is a live camera's kind: its address may hold a password.
    """

    source: Path
    frame: int
    image: NDArray[np.uint8]


def is_live(source: str) -> bool:
    """Whether a source is a camera, which has no end, and no file or folder."""
    return kind_of(source) not in _RECORDED


def open_live(source: str) -> Iterator[Picture]:
    """Yield a live camera's newest picture, time and again; those in between are lost.

    Raises:
        CameraError: It is not known, does not open, or was lost.
    """
    stop = threading.Event()
    setup = CameraSetup(
        CameraConfig(name=kind_of(source), source=source), monotonic_ns(), _PATTERN_FPS, stop
    )
    mailbox: Mailbox[Frame] = Mailbox([setup.config.name])
    faults: list[CameraError] = []
    record = CameraRecord(setup.config.name, faults.append)
    loop = CaptureLoop(setup, mailbox, lambda frame: frame, record=record)
    thread = threading.Thread(target=loop.run, name="camera", daemon=True)
    thread.start()
    try:
        while loop.report(0).status not in _OVER:
            if (taken := mailbox.take(_TAKE_S)) is not None:
                yield Picture(Path(kind_of(source)), taken.frame.index, taken.frame.image)
    finally:
        stop.set()
        thread.join(_JOIN_S)
    if faults:
        raise faults[0]


def open_source(source: Path) -> tuple[int, Iterator[Picture]]:
    """Return how many pictures a file or folder holds, and the pictures.

    Raises:
        CameraError: It holds none; later, a picture cannot be decoded.
    """
    if source.is_dir() or source.suffix.lower() in IMAGE_SUFFIXES:
        paths = pictures_in(source) if source.is_dir() else [source]
        if not paths:
            raise CameraError(f"{source}: holds no pictures", code="camera.unreadable")
        return len(paths), (read_picture(path) for path in paths)
    video = cv2.VideoCapture(str(source), cv2.CAP_FFMPEG)
    frames = int(video.get(cv2.CAP_PROP_FRAME_COUNT)) if video.isOpened() else 0
    if frames <= 0:
        raise CameraError(f"{source}: neither picture nor video", code="camera.unreadable")
    return frames, _read_video(source, video)


def frame_rate(video: Path) -> float:
    """Return the frames a second of a video.

    Raises:
        CameraError: It is none.
    """
    fps = cv2.VideoCapture(str(video), cv2.CAP_FFMPEG).get(cv2.CAP_PROP_FPS)
    if not fps > 0:
        message = f"{video}: expected a video, found none that can be read"
        raise CameraError(message, code="camera.unreadable")
    return fps


def read_picture(path: Path) -> Picture:
    """Return the picture in a file.

    Raises:
        CameraError: It cannot be decoded.
    """
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise CameraError(f"{path}: no picture that can be read", code="camera.unreadable")
    return Picture(path, 0, image)  # type: ignore[arg-type] # cv2 cannot say uint8


def _read_video(source: Path, video: cv2.VideoCapture) -> Iterator[Picture]:
    number = 0
    while True:
        good, image = video.read()
        if not good:
            break
        yield Picture(source, number, image)  # type: ignore[arg-type] # cv2 cannot say uint8
        number += 1
    if not number:
        message = f"{source}: no picture of this video can be decoded"
        hint = "is it whole? play it, or record it anew as H.264, H.265 or MJPEG"
        raise CameraError(message, code="camera.undecodable", hint=hint)


def write_stills(clip: Path, targets: Sequence[Path]) -> None:
    """Write pictures of a clip to `targets`, as many as there are, spread evenly over its length; those that are there stay.

    Raises:
        CameraError: The clip is shorter or cannot be decoded, or a target's name is no picture's.
        StorageError: A picture cannot be written.
    """
    for path in targets:
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            expected = ", ".join(sorted(IMAGE_SUFFIXES))
            raise CameraError(f"{path}: expected a name that ends in one of {expected}")
    total, pictures = open_source(clip)
    wanted = {int((place + 0.5) * total / len(targets)): path for place, path in enumerate(targets)}
    if len(wanted) < len(targets):
        raise _too_short(clip, len(targets))
    for picture in pictures:
        if picture.frame in wanted:
            _write_still(wanted.pop(picture.frame), picture)
    if wanted:
        raise _too_short(clip, len(targets))


def _write_still(path: Path, picture: Picture) -> None:
    if not path.exists():
        REAL_DISK.make_dirs(path.parent)
        encoded = cv2.imencode(path.suffix.lower(), picture.image)[1].tobytes()
        REAL_DISK.write_atomic(path, encoded, mode=0o644)


def _too_short(clip: Path, count: int) -> CameraError:
    message = f"{clip}: expected {count} pictures, found fewer"
    return CameraError(message, code="camera.unreadable", hint="record a longer clip")


def annotated(
    image: NDArray[np.uint8],
    captions: Iterable[tuple[str, Sequence[float]]],
    shapes: Iterable[Shape] = (),
) -> bytes:
    """Return a copy of a BGR picture as JPEG, with a caption and a frame for each box (corners, pixels).

    Shapes are drawn as what they are: joints that the network is sure of, outlines, rotated boxes.
    """
    canvas = image.copy()
    for text, box in captions:
        x_min, y_min, x_max, y_max = (round(side) for side in box)
        cv2.rectangle(canvas, (x_min, y_min), (x_max, y_max), _GREEN_BGR, 2)
        place = (x_min + 2, max(12, y_min - 4))
        cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, _GREEN_BGR, 1)
    for shape in shapes:
        _draw(canvas, shape)
    return cv2.imencode(".jpg", canvas)[1].tobytes()


def _draw(canvas: NDArray[np.uint8], shape: Shape) -> None:
    match shape:
        case Skeleton():
            for x, y, score in shape.points:
                if score >= _SURE:
                    cv2.circle(canvas, (round(x), round(y)), 3, _ORANGE_BGR, cv2.FILLED)
        case Outline():
            _draw_polygon(canvas, shape.points)
        case RotatedBox():
            size, degrees = (shape.width, shape.height), math.degrees(shape.angle_rad)
            _draw_polygon(canvas, cv2.boxPoints(((shape.x, shape.y), size, degrees)))


def _draw_polygon(canvas: NDArray[np.uint8], points: ArrayLike) -> None:
    corners = np.rint(np.asarray(points, np.float32).reshape(-1, 1, 2)).astype(np.int32)
    cv2.polylines(canvas, [corners], True, _ORANGE_BGR, 2)  # noqa: FBT003 - cv2 names it isClosed
