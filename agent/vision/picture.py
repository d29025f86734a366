"""A camera's newest picture as JPEG, for the console's live view."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import msgspec

from agent.errors import CameraError
from agent.schema.ipc import FrameGrabbed, GrabFrame

if TYPE_CHECKING:
    from agent.schema.values import Box
    from agent.vision.publisher import Published


def picture_of(newest: Published, request: GrabFrame) -> tuple[FrameGrabbed, bytes]:
    """Return the answer to `request` and the JPEG that goes with it; boxes are in the JPEG's pixels.

    Raises:
        CameraError: `camera.no_picture` when it cannot be encoded.
    """
    image: cv2.typing.MatLike = newest.frame.image
    scale = min(1.0, request.max_width / image.shape[1])
    if scale < 1.0:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    good, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, request.quality])
    if not good:
        raise CameraError("the picture cannot be encoded", code="camera.no_picture")
    answer = FrameGrabbed(
        id=request.id,
        camera=request.camera,
        frame=newest.frame.index,
        captured_ms=newest.frame.captured_ms,
        width=image.shape[1],
        height=image.shape[0],
        boxes=[_scaled(box, scale) for box in newest.boxes],
    )
    return answer, data.tobytes()


def _scaled(box: Box, scale: float) -> Box:
    return msgspec.structs.replace(
        box,
        x_min=box.x_min * scale,
        y_min=box.y_min * scale,
        x_max=box.x_max * scale,
        y_max=box.y_max * scale,
    )
