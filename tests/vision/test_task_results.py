"""What models of every task find, as `vigil detect` shows it and as the worker reports it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest

from agent.cli.detect_output import PictureResult
from agent.errors import ConfigError, ModelError
from agent.schema import ipc
from agent.schema.config import CameraConfig
from agent.schema.manifest import InputSpec
from agent.schema.values import Outline, RotatedBox, Skeleton, TaskName
from agent.vision.detector import load_detector
from tests.vision import models
from tests.vision.heads import SIDE
from tests.vision.peer import Peer
from tests.vision.task_models import OUTPUTS, metadata, task_model
from tests.vision.test_cli_detect import run

tasks = pytest.mark.parametrize("task", OUTPUTS)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """Twice as large as the network's input, and wider."""
    path = tmp_path / "picture.png"
    cv2.imwrite(str(path), models.colour_frame(2, size=(2 * SIDE, 2 * SIDE)))
    return path


def model(folder: Path, task: str, texts: dict[str, str] | None = None) -> Path:
    path = folder / f"{task}.onnx"
    path.write_bytes(task_model(task, texts))
    return path


def found(picture: Path, *arguments: object) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(run(picture, "--json", *arguments))
    return document


@pytest.mark.parametrize(
    ("task", "shape"),
    [
        ("pose", {"type": "skeleton", "points": [[40.0, 60.0, 0.9], [80.0, 68.0, 0.2]]}),
        ("obb", {"type": "rotated", "x": 64.0, "y": 64.0, "width": 80.0, "height": 40.0}),
        ("segment", {"type": "outline"}),
    ],
)
def test_shapes_are_in_the_pictures_pixels(
    tmp_path: Path, picture: Path, task: str, shape: dict[str, Any]
) -> None:
    (thing,) = found(picture, "--model", model(tmp_path, task))["objects"]
    assert (thing["label"], thing["box"]) == ("green", [24.0, 44.0, 104.0, 84.0])
    assert thing["shape"].items() >= shape.items()
    if task == "segment":
        columns = sorted(x for x, _ in thing["shape"]["points"])
        assert (columns[0], columns[-1]) == (25.0, 63.0), "the left half of the box, pixel centres"


def test_a_classifier_gives_a_ranking(tmp_path: Path, picture: Path) -> None:
    path = model(tmp_path, "classify")
    result = found(picture, "--model", path)
    assert [guess["label"] for guess in result["ranking"]] == ["green", "blue", "red"]
    assert result["objects"][0]["box"] == [0, 0, 128, 128]
    assert "green 0.70, blue 0.20" in " ".join(run(picture, "--model", path).split())


def test_detections_are_as_terse_as_ever(tmp_path: Path, picture: Path) -> None:
    path = tmp_path / "colour.onnx"
    path.write_bytes(models.onnx_model())
    result = found(picture, "--model", path)
    assert set(result) == set(PictureResult.__struct_fields__) - {"ranking"}
    assert set(result["objects"][0]) == {"label", "score", "box"}


@pytest.mark.parametrize("task", ["pose", "segment", "obb"])
def test_shapes_are_drawn(tmp_path: Path, picture: Path, task: str) -> None:
    run(picture, "--json", "--model", model(tmp_path, task), "--save", tmp_path / "out")
    drawn = models.read_picture(tmp_path / "out" / "picture-000000.jpg")
    assert (drawn[:, :, 2] > 150).any(), "nothing is drawn in orange on blue"


@tasks
def test_a_silent_file_asks_for_its_task_and_takes_it(
    tmp_path: Path, picture: Path, task: str
) -> None:
    names = tmp_path / "names.txt"
    names.write_text("\n".join(models.LABELS))
    stated = ("--model", model(tmp_path, task, {}), "--family", "ultralytics", "--labels", names)
    with pytest.raises(ModelError) as caught:
        found(picture, *stated)
    assert caught.value.code == "model.ambiguous"
    assert "--task" in caught.value.hint
    more = ("--task", task, *(("--keypoints", "2x3") if task == "pose" else ()))
    assert found(picture, *stated, *more)["objects"][0]["label"] == "green"


def test_keypoints_that_are_no_shape_are_refused(tmp_path: Path, picture: Path) -> None:
    for text in ("17", "17x4", "0x3", "x", "17x3x3"):
        with pytest.raises(ConfigError, match="17x3"):
            found(picture, "--model", model(tmp_path, "pose"), "--keypoints", text)


def test_a_task_other_than_the_files_is_refused(tmp_path: Path, picture: Path) -> None:
    with pytest.raises(ModelError, match="expected a model for obb, found pose") as caught:
        found(picture, "--model", model(tmp_path, "pose"), "--task", "obb")
    assert caught.value.code == "model.task"


@tasks
def test_the_file_says_its_task_and_how_it_sees(tmp_path: Path, task: str) -> None:
    detector = load_detector(model(tmp_path, task))
    assert detector.task == task
    assert detector.input.fit == ("crop" if task == "classify" else "letterbox")


@pytest.mark.parametrize("shape", ["[17]", "[17, 4]", "[0, 3]", "'17x3'", "[17, 3, 1]", "{17: 3}"])
def test_key_points_that_make_no_sense_are_an_error(tmp_path: Path, shape: str) -> None:
    with pytest.raises(ModelError) as caught:
        load_detector(model(tmp_path, "pose", metadata("pose") | {"kpt_shape": shape}))
    assert caught.value.code == "model.metadata"


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.process.kill()
    peer.process.wait()


@tasks
def test_the_worker_reports_what_its_task_finds(peer: Peer, task: str) -> None:
    fit = "crop" if task == "classify" else "letterbox"
    spec = InputSpec(width=SIDE, height=SIDE, fit=fit)
    peer.load(task_model(task), task=TaskName(task), input=spec)
    peer.open_cameras(CameraConfig(name="yard", source="pattern:", fps=20))
    result = peer.next(ipc.FrameResult)
    assert [box.label for box in result.boxes] == [1]
    kinds = {"pose": Skeleton, "segment": Outline, "obb": RotatedBox}
    if task == "classify":
        assert [guess.label for guess in result.ranking] == [1, 2, 0]
        assert result.shapes == []
    else:
        assert [type(shape) for shape in result.shapes] == [kinds[task]]


def test_the_worker_refuses_a_file_of_another_task_than_the_manifests(peer: Peer) -> None:
    failed = peer.load(task_model("pose"), ipc.Failed, task=TaskName.OBB)
    assert (failed.kind, failed.code) == ("ModelError", "model.task")
