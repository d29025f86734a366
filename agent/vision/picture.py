"""Pictures that leave the worker, as JPEG: for the console's live view, snapshots and clips.

What is encoded here must have gone through `vision.privacy`: a `SafePicture`, or a piece of one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import msgspec

from agent.errors import CameraError
from agent.schema.ipc import FrameGrabbed, GrabFrame

if TYPE_CHECKING:
    from agent.schema.values import Box
    from agent.vision.desk import Published
    from agent.vision.privacy import SafePicture


def picture_of(newest: Published, request: GrabFrame) -> tuple[FrameGrabbed, bytes]:
    """Return the answer to `request` and the JPEG that goes with it; boxes are in the JPEG's pixels.

    Raises:
        CameraError: `camera.no_picture` when it cannot be encoded.
    """
    picture = newest.picture
    width, height = fitting_size(picture, request.max_width)
    data = encode_jpeg(picture, request.max_width, request.quality)
    scale = width / picture.image.shape[1]
    answer = FrameGrabbed(
        id=request.id,
        camera=request.camera,
        frame=picture.index,
        captured_ms=picture.captured_ms,
        width=width,
        height=height,
        boxes=[_scaled(box, scale) for box in newest.boxes],
    )
    return answer, data


def fitting_size(picture: SafePicture, max_width: int) -> tuple[int, int]:
    """Return (width, height) of a picture that is at most `max_width` pixels wide."""
    height, width = picture.image.shape[:2]
    scale = min(1.0, max_width / width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def encode_jpeg(picture: SafePicture, max_width: int, quality: int) -> bytes:
    """Return a picture as JPEG, made smaller where it is wider than `max_width` pixels.

    Raises:
        CameraError: `camera.no_picture` when it cannot be encoded.
    """
    image: cv2.typing.MatLike = picture.image
    size = fitting_size(picture, max_width)
    if size != (image.shape[1], image.shape[0]):
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    good, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not good:
        raise CameraError("the picture cannot be encoded", code="camera.no_picture")
    return data.tobytes()


def _scaled(box: Box, scale: float) -> Box:
    return msgspec.structs.replace(
        box,
        x_min=box.x_min * scale,
        y_min=box.y_min * scale,
        x_max=box.x_max * scale,
        y_max=box.y_max * scale,
    )
