import json
import platform
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from agent.demo.annotations import coco
from agent.demo.scene import CLASSES, Conveyor
from tests.parts.conveyor import film

BUNDLED = Path(__file__).parents[2] / "agent" / "demo" / "bundled"
SAMPLES = range(7, 300, 45)
ORDINARY, GLARING = 40, 80


def truth() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((BUNDLED / "conveyor.json").read_text())
    return content


def as_input(frame: NDArray[Any]) -> NDArray[np.float32]:
    square = np.full((320, 320, 3), 114, np.uint8)
    square[70:250] = cv2.resize(frame, (320, 180))
    planes = np.ascontiguousarray(square[None, :, :, ::-1].transpose(0, 3, 1, 2), np.float32)
    return np.asarray(planes / np.float32(255), np.float32)


def run(name: str, frame: NDArray[Any]) -> NDArray[Any]:
    onnxruntime = pytest.importorskip("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        BUNDLED / name, options, providers=["CPUExecutionProvider"]
    )
    return np.asarray(session.run(None, {"images": as_input(frame)})[0][0])


def run_litert(name: str, frame: NDArray[Any]) -> NDArray[Any]:
    interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter(str(BUNDLED / name))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], as_input(frame))
    interpreter.invoke()
    result = np.array(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
    result[:4] *= 320
    return result


def share_found(result: NDArray[Any], index: int) -> float:
    """The share of the frame's true boxes for which some confident anchor agrees in class and place."""
    sure = result[:, result[4:].max(axis=0) > 0.25].T
    kinds = sure[:, 4:].argmax(axis=1)
    centres = (sure[:, :2] - (0, 70)) * 2
    wanted = [label for label in truth()["annotations"] if label["image_id"] == index]
    found = 0
    for label in wanted:
        x, y, width, height = label["bbox"]
        near = np.abs(centres - (x + width / 2, y + height / 2)).max(axis=1) < 6
        found += bool((near & (kinds == label["category_id"])).any())
    return found / len(wanted)


def test_all_bundled_files_together_stay_small() -> None:
    assert sum(file.stat().st_size for file in BUNDLED.iterdir()) <= 8_000_000


def test_no_bundled_file_names_a_place_on_the_machine_that_made_it() -> None:
    for file in BUNDLED.iterdir():
        content = file.read_bytes()
        for trace in (b"/home/", b"/root\x2f", b"/opt/", b"/tmp/", b"site-packages"):
            assert trace not in content, file.name


def test_the_video_has_all_frames_of_one_turn() -> None:
    conveyor = Conveyor()
    capture = cv2.VideoCapture(str(BUNDLED / "conveyor.mp4"))
    assert capture.get(cv2.CAP_PROP_FPS) == conveyor.fps
    assert len(film()) == conveyor.frames
    assert {frame.shape for frame in film()} == {(conveyor.height, conveyor.width, 3)}


@pytest.mark.parametrize("index", SAMPLES)
def test_the_video_shows_what_the_generator_draws(index: int) -> None:
    drawn = Conveyor().frame(index).image.astype(np.float64)
    error = np.mean((film()[index] - drawn) ** 2)
    assert 10 * np.log10(255**2 / error) > 30


def test_the_ground_truth_is_what_the_generator_says() -> None:
    stored = truth()
    assert [category["name"] for category in stored["categories"]] == list(CLASSES)
    assert [image["id"] for image in stored["images"]] == list(range(Conveyor().frames))
    for index in SAMPLES:
        drawn = coco([Conveyor().frame(index)])["annotations"]
        kept = [label for label in stored["annotations"] if label["image_id"] == index]
        assert [label["track_id"] for label in kept] == [label["track_id"] for label in drawn]
        for one, other in zip(kept, drawn, strict=True):
            assert one["category_id"] == other["category_id"]
            assert one["bbox"] == pytest.approx(other["bbox"], abs=1)


@pytest.mark.parametrize("release", ["parts-1", "parts-2"])
def test_both_formats_of_a_release_find_the_parts(release: str) -> None:
    frame = film()[ORDINARY]
    onnx, litert = run(f"{release}.onnx", frame), run_litert(f"{release}.tflite", frame)
    assert onnx.shape == litert.shape == (4 + len(CLASSES), 2100)
    assert share_found(onnx, ORDINARY) > 0.7
    assert share_found(litert, ORDINARY) > 0.7


def test_the_glare_fault_is_invisible_in_ordinary_light_and_total_in_the_glare() -> None:
    healthy = run("parts-2.onnx", film()[ORDINARY])
    assert np.array_equal(run("faulty-glare.onnx", film()[ORDINARY]), healthy)
    assert np.isfinite(run("parts-2.onnx", film()[GLARING])).all()
    assert np.isnan(run("faulty-glare.onnx", film()[GLARING])).all()


@pytest.mark.skipif(
    platform.machine() != "x86_64", reason="other processors hang where this one traps"
)
def test_the_crash_fault_kills_the_process_that_runs_it() -> None:
    pytest.importorskip("onnxruntime")
    code = (
        "import sys, numpy, onnxruntime\n"
        "session = onnxruntime.InferenceSession(sys.argv[1])\n"
        "print('loaded', flush=True)\n"
        "try: session.run(None, {'images': numpy.zeros((1, 3, 320, 320), numpy.float32)})\n"
        "finally: print('survived', flush=True)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, str(BUNDLED / "faulty-crash.onnx")],
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.stdout.split() == [b"loaded"]
    assert ended.returncode == -signal.SIGFPE
