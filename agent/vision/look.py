"""`python -m agent.vision.look`: open one camera, judge a few pictures, say so in JSON, end.

Standard input is a `CameraConfig`, standard output a `CameraLook`. A process of its own, because a driver
may hang: whoever starts it ends it after a time limit.
"""

from __future__ import annotations

import os
import sys
import threading
from itertools import pairwise
from typing import TYPE_CHECKING

from msgspec.structs import replace

from agent.errors import VigilError
from agent.host.clock import monotonic_ns
from agent.schema.config import CameraConfig
from agent.schema.doctor import CameraLook
from agent.schema.document import parse_json, to_json
from agent.vision.process import set_up_process

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from agent.vision.cameras import Camera, Frame

PICTURES = 5
SECONDS = 6.0
_DEFAULT_FPS = 5.0
_MAX_INPUT_BYTES = 64 * 1024


def look(config: CameraConfig) -> CameraLook:
    """Open a camera, read up to `PICTURES` pictures within `SECONDS`, and judge the last one."""
    from agent.vision.cameras import CameraSetup, open_camera

    stop = threading.Event()
    timer = threading.Timer(SECONDS, stop.set)
    timer.daemon = True
    frames: list[Frame] = []
    try:
        camera = open_camera(CameraSetup(config, monotonic_ns(), config.fps or _DEFAULT_FPS, stop))
        timer.start()
        camera.open()
        _read(camera, frames)
    except VigilError as error:
        return _judged(frames, error)
    finally:
        timer.cancel()
    return _judged(frames, None)


def _read(camera: Camera, frames: list[Frame]) -> None:
    try:
        while len(frames) < PICTURES and (frame := camera.read()) is not None:
            frames.append(frame)
    finally:
        camera.close()


def _judged(frames: list[Frame], error: VigilError | None) -> CameraLook:
    seen = _last_of(frames) if frames else CameraLook()
    if error is None:
        return seen
    return replace(seen, code=error.code, message=str(error), hint=error.hint)


def _last_of(frames: list[Frame]) -> CameraLook:
    last = frames[-1]
    height, width = last.image.shape[:2]
    brightness, contrast = _light(last.image)
    return CameraLook(
        frames=len(frames),
        width=width,
        height=height,
        brightness=round(brightness, 1),
        contrast=round(contrast, 1),
        same=len(frames) > 1 and all(_is_same(one, other) for one, other in pairwise(frames)),
        age_ms=round((monotonic_ns() - last.captured_ns) / 1e6, 1),
    )


def _light(image: NDArray[np.uint8]) -> tuple[float, float]:
    import cv2

    mean, deviation = cv2.meanStdDev(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))
    return float(mean[0][0]), float(deviation[0][0])


def _is_same(one: Frame, other: Frame) -> bool:
    import numpy as np

    return np.array_equal(one.image, other.image)


def main() -> None:
    """Serve one request and leave, whatever a driver's threads do."""
    set_up_process()
    config = parse_json(sys.stdin.buffer.read(_MAX_INPUT_BYTES), CameraConfig)
    sys.stdout.buffer.write(to_json(look(config)))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
