"""Pictures from a GStreamer pipeline, `gst:PIPELINE`, through the system's own GStreamer.

The pipeline is what `gst-launch-1.0` takes, without a sink: `gst:videotestsrc is-live=true`. Pictures are
converted to BGR; the newest one wins. Needs the system's `python3-gi` and GStreamer's packages, visible to
Vigil's Python; https://gstreamer.freedesktop.org/documentation/applib/gstappsink.html.
"""

from __future__ import annotations

import importlib
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from agent.vision.cameras import CameraSetup, Frame, redact

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agent.errors import CameraError

_SINK = (
    " ! videoconvert ! video/x-raw,format=BGR"
    " ! appsink name=vigil max-buffers=1 drop=true sync=false"
)
_OPEN_TIMEOUT_NS = 10_000_000_000
_READ_TIMEOUT_NS = 4_500_000_000
_TURN_NS = 500_000_000


class GstCamera:
    """One pipeline; `Frame.index` counts the pictures taken.

    Args:
        setup: The camera's set-up.
        pipeline: What to run; None for what follows `gst:` in the source.
    """

    def __init__(self, setup: CameraSetup, pipeline: str | None = None) -> None:
        self._setup = setup
        self._text = (pipeline or setup.config.source.partition(":")[2]) + _SINK
        self._gst: Any = None
        self._pipeline: Any = None
        self._sink: Any = None
        self._index = 0

    def open(self) -> None:
        """Start the pipeline; see `agent.vision.cameras.Camera`."""
        gst, glib = _library(self._setup)
        self._gst = gst
        with self._setup.call:
            try:
                self._pipeline = gst.parse_launch(self._text)
            except glib.Error as error:
                hint = "try it with gst-launch-1.0; it ends without a sink"
                problem = f"is no pipeline: {redact(str(error))}"
                raise self._setup.error(problem, "camera.unknown", hint) from error
            self._sink = self._pipeline.get_by_name("vigil")
            self._pipeline.set_state(gst.State.PLAYING)
            change, *_ = self._pipeline.get_state(_OPEN_TIMEOUT_NS)
        if change == gst.StateChangeReturn.FAILURE:
            raise self._fault("does not start", "camera.unreachable")

    def read(self) -> Frame | None:
        """Return the newest picture; see `agent.vision.cameras.Camera`."""
        if self._sink is None:
            raise self._setup.error("is not open", "camera.closed")
        started = time.perf_counter_ns()
        for _ in range(_READ_TIMEOUT_NS // _TURN_NS):
            if self._setup.stop.is_set():
                return None
            with self._setup.call:
                sample = self._sink.emit("try-pull-sample", _TURN_NS)
            if sample is not None:
                self._index += 1
                return self._setup.frame(self._image(sample), self._index, started)
            if self._sink.get_property("eos"):
                raise self._fault("has ended", "camera.lost")
        raise self._fault("sends no more pictures", "camera.stalled")

    def close(self) -> None:
        """Stop the pipeline."""
        pipeline, self._pipeline, self._sink = self._pipeline, None, None
        if pipeline is not None:
            with self._setup.call:
                pipeline.set_state(self._gst.State.NULL)

    def _image(self, sample: Any) -> NDArray[np.uint8]:
        """Return a sample's picture; its rows are padded to four bytes."""
        form = sample.get_caps().get_structure(0)
        width, height = form.get_value("width"), form.get_value("height")
        buffer = sample.get_buffer()
        data = np.frombuffer(buffer.extract_dup(0, buffer.get_size()), np.uint8)
        rows = data.reshape(height, data.size // height)[:, : 3 * width]
        return np.ascontiguousarray(rows).reshape(height, width, 3)

    def _fault(self, problem: str, code: str) -> CameraError:
        """Return an error with what the pipeline itself says, and the code that this calls for."""
        message = self._pipeline.get_bus().pop_filtered(self._gst.MessageType.ERROR)
        if message is None:
            return self._setup.error(problem, code)
        error, _ = message.parse_error()
        code = _CODES.get((error.domain, error.code), code)
        return self._setup.error(f"{problem}: {redact(error.message)}", code)


# GstResourceError: https://gstreamer.freedesktop.org/documentation/gstreamer/gsterror.html
_RESOURCE = "gst-resource-error-quark"
_CODES = {
    (_RESOURCE, 3): "camera.not_found",
    (_RESOURCE, 4): "camera.busy",
    (_RESOURCE, 5): "camera.unreachable",
    (_RESOURCE, 15): "camera.unauthorized",
    ("gst-stream-error-quark", 7): "camera.undecodable",
}


def _library(setup: CameraSetup) -> tuple[Any, Any]:
    """Return GStreamer, started, and GLib."""
    try:
        gi = importlib.import_module("gi")
        gi.require_version("Gst", "1.0")
        gst = importlib.import_module("gi.repository.Gst")
        glib = importlib.import_module("gi.repository.GLib")
    except (ImportError, ValueError) as error:
        raise setup.error(
            f"needs GStreamer, which cannot be loaded: {error}",
            "camera.unavailable",
            "apt install python3-gi gir1.2-gstreamer-1.0 gstreamer1.0-plugins-good, and let Vigil's Python see them",
        ) from error
    gst.init(None)
    return gst, glib
