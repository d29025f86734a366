"""CSI and GStreamer cameras against scripted doubles of their makers' libraries: none of it ran on hardware."""

from __future__ import annotations

import sys
import types
from concurrent.futures import TimeoutError as NotYet
from typing import Any

import numpy as np
import pytest

from agent.errors import CameraError
from agent.vision.cameras import Camera, open_camera
from agent.vision.cameras.csi import argus_pipeline, libcamera_pipeline
from tests.vision.filming import setup


def opened_and_read(camera: Camera) -> None:
    camera.open()
    camera.read()


class GLibError(Exception):
    """As GLib.Error: domain, code, message."""

    def __init__(self, domain: str, code: int, message: str) -> None:
        super().__init__(message)
        self.domain, self.code, self.message = domain, code, message


class Sample:
    """A picture of 5x2 pixels whose rows are padded to 16 bytes."""

    def __init__(self) -> None:
        rows = np.zeros((2, 16), np.uint8)
        rows[:, :15] = np.arange(30, dtype=np.uint8).reshape(2, 15)
        self._data = rows.tobytes()

    def get_caps(self) -> Sample:
        return self

    get_buffer = get_caps

    def get_structure(self, _: int) -> Sample:
        return self

    def get_value(self, name: str) -> int:
        return {"width": 5, "height": 2}[name]

    def get_size(self) -> int:
        return len(self._data)

    def extract_dup(self, start: int, size: int) -> bytes:
        return self._data[start : start + size]


class Pipeline:
    """Stands for the pipeline, its sink and its bus; `script` is what happens."""

    def __init__(self, script: dict[str, Any]) -> None:
        self.script = {"samples": [], "error": None, "change": "async", "eos": False} | script
        self.states: list[str] = []

    def get_by_name(self, name: str) -> Pipeline:
        assert name == "vigil"
        return self

    def set_state(self, state: str) -> None:
        self.states.append(state)

    def get_state(self, timeout_ns: int) -> tuple[str, str, str]:
        assert timeout_ns > 0
        return self.script["change"], "playing", "void"

    def emit(self, signal: str, timeout_ns: int) -> Sample | None:
        assert (signal, timeout_ns > 0) == ("try-pull-sample", True)
        return self.script["samples"].pop(0) if self.script["samples"] else None

    def get_property(self, name: str) -> bool:
        return bool({"eos": self.script["eos"]}[name])

    def get_bus(self) -> Pipeline:
        return self

    def pop_filtered(self, kind: str) -> Pipeline | None:
        assert kind == "error"
        return self if self.script["error"] else None

    def parse_error(self) -> tuple[GLibError, str]:
        return self.script["error"], "debug"


@pytest.fixture
def gst(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    """GStreamer's Python binding, doubled; `pipelines` are those that were made."""
    double = types.SimpleNamespace(script={}, pipelines=[], texts=[], refuse=None)

    def parse_launch(text: str) -> Pipeline:
        double.texts.append(text)
        if double.refuse:
            raise double.refuse
        pipeline = Pipeline(double.script)
        double.pipelines.append(pipeline)
        return pipeline

    library: Any = types.ModuleType("gi.repository.Gst")
    library.init = lambda _: None
    library.parse_launch = parse_launch
    library.State = types.SimpleNamespace(PLAYING="playing", NULL="null")
    library.StateChangeReturn = types.SimpleNamespace(FAILURE="failure")
    library.MessageType = types.SimpleNamespace(ERROR="error")
    glib: Any = types.ModuleType("gi.repository.GLib")
    glib.Error = GLibError
    gi: Any = types.ModuleType("gi")
    gi.require_version = lambda *_: None
    modules = {"gi": gi, "gi.repository.Gst": library, "gi.repository.GLib": glib}
    modules["gi.repository"] = types.ModuleType("gi.repository")
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return double


def test_a_gstreamer_picture_has_its_padding_taken_off(gst: types.SimpleNamespace) -> None:
    gst.script = {"samples": [None, Sample()]}
    camera = open_camera(setup("gst:videotestsrc is-live=true"))
    camera.open()
    frame = camera.read()
    assert frame is not None
    assert frame.image.tolist() == np.arange(30).reshape(2, 5, 3).tolist()
    assert gst.texts[0].startswith("videotestsrc is-live=true ! videoconvert")
    assert "max-buffers=1 drop=true" in gst.texts[0]
    camera.close()
    assert gst.pipelines[0].states == ["playing", "null"]


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ({"change": "failure"}, "camera.unreachable"),
        (
            {"change": "failure", "error": GLibError("gst-resource-error-quark", 15, "401")},
            "camera.unauthorized",
        ),
        (
            {"change": "failure", "error": GLibError("gst-resource-error-quark", 3, "none")},
            "camera.not_found",
        ),
        ({"eos": True}, "camera.lost"),
        ({}, "camera.stalled"),
        (
            {"error": GLibError("gst-stream-error-quark", 7, "bad data")},
            "camera.undecodable",
        ),
    ],
)
def test_a_pipelines_fault_has_its_code(
    gst: types.SimpleNamespace, script: dict[str, Any], code: str
) -> None:
    gst.script = script
    camera = open_camera(setup("gst:v4l2src"))
    with pytest.raises(CameraError) as caught:
        opened_and_read(camera)
    camera.close()
    assert caught.value.code == code


def test_a_text_that_is_no_pipeline_is_refused_without_its_secrets(
    gst: types.SimpleNamespace,
) -> None:
    gst.refuse = GLibError("gst-parse-error", 1, "no element at rtsp://ann:s3cret@h/live")
    with pytest.raises(CameraError, match="is no pipeline") as caught:
        open_camera(setup("gst:rtspsrc location=rtsp://ann:s3cret@h/live !")).open()
    assert caught.value.code == "camera.unknown"
    assert "s3cret" not in str(caught.value)


def test_without_gstreamer_its_camera_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "gi", None)
    with pytest.raises(CameraError) as caught:
        open_camera(setup("gst:videotestsrc")).open()
    assert caught.value.code == "camera.unavailable"
    assert "apt install" in caught.value.hint


def test_the_pipelines_of_the_boards_name_sensor_size_and_rate() -> None:
    argus = argus_pipeline(1, (1280, 720), 30)
    assert argus.startswith("nvarguscamerasrc sensor-id=1 ! video/x-raw(memory:NVMM),width=1280")
    assert "framerate=30/1" in argus
    assert libcamera_pipeline(0, (640, 480), 15).startswith("libcamerasrc ! video/x-raw,width=640")


@pytest.mark.parametrize("source", ["csi:", "csi:front", "csi:0:large", "csi:0:1280"])
def test_a_csi_source_that_names_no_connector_is_refused(source: str) -> None:
    with pytest.raises(CameraError) as caught:
        open_camera(setup(source))
    assert caught.value.code == "camera.unknown"


class Picamera2:
    """picamera2's class, doubled: pictures come after `late` time-outs; camera 7 is not there, 8 is in use."""

    late = 0
    closed = 0

    def __init__(self, number: int) -> None:
        if number == 7:
            raise IndexError("list index out of range")
        if number == 8:
            raise RuntimeError("Failed to acquire camera: Device or resource busy")
        self._late = self.late

    def create_video_configuration(self, **wanted: Any) -> dict[str, Any]:
        assert wanted["main"] == {"size": (640, 480), "format": "RGB888"}
        assert wanted["controls"] == {"FrameRate": 12.0}
        return wanted

    def configure(self, wanted: dict[str, Any]) -> None:
        self._size = wanted["main"]["size"]

    def start(self) -> None:
        pass

    def capture_array(self, name: str, *, wait: bool) -> str:
        assert (name, wait) == ("main", False)
        return "job"

    def wait(self, job: str, timeout: float) -> Any:
        assert (job, timeout > 0) == ("job", True)
        self._late -= 1
        if self._late >= 0:
            raise NotYet
        return np.zeros((self._size[1], self._size[0], 3), np.uint8)

    def close(self) -> None:
        type(self).closed += 1


@pytest.fixture
def picamera2(monkeypatch: pytest.MonkeyPatch) -> type[Picamera2]:
    module: Any = types.ModuleType("picamera2")
    module.__spec__ = types.SimpleNamespace(name="picamera2")
    module.Picamera2 = Picamera2
    monkeypatch.setitem(sys.modules, "picamera2", module)
    monkeypatch.setattr(Picamera2, "late", 0)
    monkeypatch.setattr(Picamera2, "closed", 0)
    return Picamera2


def test_a_raspberry_pis_camera_is_read(picamera2: type[Picamera2]) -> None:
    picamera2.late = 2
    camera = open_camera(setup("csi:0:640x480", fps=12.0))
    camera.open()
    frame = camera.read()
    assert frame is not None
    assert frame.image.shape == (480, 640, 3)
    camera.close()
    camera.close()
    assert picamera2.closed == 1


@pytest.mark.parametrize(
    ("source", "late", "code"),
    [
        ("csi:7:640x480", 0, "camera.missing"),
        ("csi:8:640x480", 0, "camera.busy"),
        ("csi:0:640x480", 99, "camera.stalled"),
    ],
)
def test_a_raspberry_pis_faults_have_their_codes(
    picamera2: type[Picamera2], source: str, late: int, code: str
) -> None:
    picamera2.late = late
    camera = open_camera(setup(source, fps=12.0))
    with pytest.raises(CameraError) as caught:
        opened_and_read(camera)
    camera.close()
    assert caught.value.code == code
