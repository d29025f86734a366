"""A folder of pictures in the order of their names, one at each tick of the frame rate."""

from __future__ import annotations

import time
from pathlib import Path

import cv2

from agent.vision.cameras import CameraSetup, Frame
from agent.vision.cameras.pace import Pace

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})


def pictures_in(folder: Path) -> list[Path]:
    """Return the pictures in a folder, by name."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)


class FolderCamera:
    """See the module; `Frame.index` is the picture's place in the folder."""

    def __init__(self, setup: CameraSetup) -> None:
        self._setup = setup
        self._pace = Pace(setup.config.fps or setup.default_fps, setup.epoch_ns)
        self._pictures: list[Path] = []
        self._last_tick = -1

    def open(self) -> None:
        """List the folder; see `agent.vision.cameras.Camera`."""
        try:
            self._pictures = pictures_in(Path(self._setup.config.source))
        except OSError as error:
            raise self._setup.error(
                f"cannot be listed: {error.strerror}", "camera.missing"
            ) from error
        if not self._pictures:
            raise self._setup.error("holds no pictures", "camera.unreadable")

    def read(self) -> Frame | None:
        """Wait for the next picture that is due; see `agent.vision.cameras.Camera`."""
        tick = self._setup.wait_for_tick(self._pace, self._last_tick)
        if tick is None:
            return None
        self._last_tick = tick
        if tick >= len(self._pictures) and not self._setup.config.loop:
            return None
        started = time.perf_counter_ns()
        index = tick % len(self._pictures)
        with self._setup.call:
            image = cv2.imread(str(self._pictures[index]), cv2.IMREAD_COLOR)
        if image is None:
            name = self._pictures[index].name
            raise self._setup.error(f"holds {name}, which is no picture", "camera.unreadable")
        return self._setup.frame(image, index, started)  # type: ignore[arg-type] # uint8

    def close(self) -> None:
        """Forget the list."""
        self._pictures = []
