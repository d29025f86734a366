"""CSI cameras, `csi:N`: picamera2 on a Raspberry Pi, `nvarguscamerasrc` on a Jetson, else `libcamerasrc`.

Size and rate stand behind the number: `csi:0:1280x720`. Written against picamera2 0.3 and the elements of
JetPack 5 and 6; see docs/cameras.md for what was run where.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import time
from concurrent.futures import TimeoutError as NotYet
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.vision.cameras import Camera, CameraSetup, Frame
from agent.vision.cameras.gstreamer import GstCamera

if TYPE_CHECKING:
    from collections.abc import Callable

_SOURCE = re.compile(r"csi:(\d{1,2})(?::(\d{2,5})x(\d{2,5}))?")
_DEFAULT_SIZE = (1280, 720)
_DEFAULT_FPS = 30
_READ_TIMEOUT_S = 4.5
_TURN_S = 0.5
_TEGRA = Path("/etc/nv_tegra_release")


def csi_camera(setup: CameraSetup) -> Camera:
    """Return a camera for the ribbon's connector that the source names.

    Raises:
        CameraError: `camera.unknown` when the source is not `csi:N` or `csi:N:WIDTHxHEIGHT`.
    """
    match = _SOURCE.fullmatch(setup.config.source)
    if match is None:
        raise setup.error("is not csi:N or csi:N:WIDTHxHEIGHT", "camera.unknown")
    number = int(match[1])
    size = (int(match[2]), int(match[3])) if match[2] else _DEFAULT_SIZE
    if importlib.util.find_spec("picamera2") is not None:
        return PiCamera(setup, number, size)
    pipeline = argus_pipeline if _TEGRA.exists() else libcamera_pipeline
    return GstCamera(setup, pipeline(number, size, round(setup.config.fps or _DEFAULT_FPS)))


def argus_pipeline(number: int, size: tuple[int, int], fps: int) -> str:
    """Return the pipeline of a Jetson: the image processor scales and converts, nothing is copied before."""
    width, height = size
    return (
        f"nvarguscamerasrc sensor-id={number}"
        f" ! video/x-raw(memory:NVMM),width={width},height={height},framerate={fps}/1"
        " ! nvvidconv ! video/x-raw,format=BGRx"
    )


def libcamera_pipeline(number: int, size: tuple[int, int], fps: int) -> str:
    """Return the pipeline of other boards; libcamera itself names cameras, so only the first is known by number."""
    width, height = size
    del (
        number
    )  # libcamerasrc takes names only; with several cameras use gst:libcamerasrc camera-name=…
    return f"libcamerasrc ! video/x-raw,width={width},height={height},framerate={fps}/1"


class PiCamera:
    """A camera of a Raspberry Pi through picamera2; its image processor scales and converts."""

    decoder = "none"

    def __init__(self, setup: CameraSetup, number: int, size: tuple[int, int]) -> None:
        self._setup = setup
        self._number = number
        self._size = size
        self._camera: Any = None
        self._index = 0

    def open(self) -> None:
        """Start it; see `agent.vision.cameras.Camera`."""
        with self._setup.call:
            try:
                picamera2 = importlib.import_module("picamera2")
                self._camera = picamera2.Picamera2(self._number)
            except IndexError as error:
                hint = "check the ribbon; rpicam-hello --list-cameras lists what is there"
                raise self._setup.error("is not there", "camera.missing", hint) from error
            except ImportError as error:
                hint = "apt install python3-picamera2, and let Vigil's Python see it"
                problem = f"needs picamera2: {error}"
                raise self._setup.error(problem, "camera.unavailable", hint) from error
            except RuntimeError as error:
                hint = "end the other program that uses it"
                problem = f"does not open: {error}"
                raise self._setup.error(problem, "camera.busy", hint) from error
            self._start()

    def _start(self) -> None:
        fps = self._setup.config.fps or _DEFAULT_FPS
        # picamera2 names formats by the order of a word's bits: RGB888 is B, G, R in memory.
        form = {"size": self._size, "format": "RGB888"}
        wanted = self._camera.create_video_configuration(
            main=form, controls={"FrameRate": fps}, buffer_count=3, queue=False
        )
        self._camera.configure(wanted)
        self._camera.start()

    def read(self) -> Frame | None:
        """Return the next picture; see `agent.vision.cameras.Camera`."""
        if self._camera is None:
            raise self._setup.error("is not open", "camera.closed")
        started = time.perf_counter_ns()
        job = self._camera.capture_array("main", wait=False)
        image = self._wait(lambda: self._camera.wait(job, timeout=_TURN_S))
        if image is None:
            return None
        self._index += 1
        return self._setup.frame(image, self._index, started)

    def _wait(self, answer: Callable[[], Any]) -> Any:
        """Return the answer, or None when the camera is stopped meanwhile."""
        for _ in range(round(_READ_TIMEOUT_S / _TURN_S)):
            if self._setup.stop.is_set():
                return None
            try:
                with self._setup.call:
                    return answer()
            except (NotYet, TimeoutError):
                continue
        hint = "check the ribbon; the kernel's log names time-outs of the sensor"
        raise self._setup.error("sends no more pictures", "camera.stalled", hint)

    def close(self) -> None:
        """Give it back."""
        camera, self._camera = self._camera, None
        if camera is not None:
            with self._setup.call:
                camera.close()
