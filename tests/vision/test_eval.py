"""`vigil eval`: accuracy from the command line, judged against labels that are known to be right or wrong."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import agent
from agent.cli import eval as command
from agent.errors import CameraError, ConfigError, ModelError, VigilError
from agent.vision.evaluation import confusion
from tests.parts.conveyor import labels_of_first_frames
from tests.vision import models

BUNDLED = Path(agent.__file__).parent / "demo" / "bundled"
app = typer.Typer()
app.command()(command.evaluate)


def labels_of(box: tuple[float, ...] = models.BOX_XYXY) -> dict[str, Any]:
    """Labels for one picture of each colour, all with the box that the model gives."""
    x_min, y_min, x_max, y_max = box
    return {
        "images": [
            {"id": number, "file_name": f"{name}.png", "width": 32, "height": 32}
            for number, name in enumerate(models.LABELS)
        ],
        "annotations": [
            {
                "id": number,
                "image_id": number,
                "category_id": number,
                "bbox": [x_min, y_min, x_max - x_min, y_max - y_min],
                "iscrowd": 0,
            }
            for number in range(3)
        ],
        "categories": [{"id": number, "name": name} for number, name in enumerate(models.LABELS)],
    }


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "pictures").mkdir()
    for label, name in enumerate(models.LABELS):
        path = tmp_path / "pictures" / f"{name}.png"
        cv2.imwrite(str(path), models.colour_frame(label))
    (tmp_path / "good.onnx").write_bytes(models.onnx_model())
    (tmp_path / "weak.onnx").write_bytes(models.onnx_model(gain=0.001))
    write(tmp_path, labels_of())
    return tmp_path


def write(place: Path, labels: object) -> Path:
    path = place / "instances.json"
    path.write_text(labels if isinstance(labels, str) else json.dumps(labels), "utf-8")
    return path


def run(place: Path, *options: object, model: str = "good.onnx", status: int = 0) -> str:
    sources = ("--dataset", place / "instances.json", "--images", place / "pictures")
    arguments = [str(one) for one in ("--model", place / model, *sources, *options)]
    result = CliRunner().invoke(app, arguments)
    if isinstance(result.exception, VigilError):
        raise result.exception
    assert result.exit_code == status, result.output
    return result.stdout


def test_a_model_that_is_right_scores_one(place: Path) -> None:
    document = json.loads(run(place, "--json", "-"))
    report = document["report"]
    assert (report["map50_95"], report["map50"], report["images"]) == (1.0, 1.0, 3)
    assert [(one["label"], one["objects"]) for one in report["classes"]] == [
        (name, 1) for name in models.LABELS
    ]
    assert set(report["stages_ms"]) == {"pre", "infer", "post"}
    assert len(document["sha256"]) == 64


def test_boxes_that_overlap_by_two_thirds_score_in_the_looser_half(place: Path) -> None:
    x_min, y_min, x_max, y_max = models.BOX_XYXY
    shift = (x_max - x_min) / 5  # intersection over union 4/6
    write(place, labels_of((x_min + shift, y_min, x_max + shift, y_max)))
    report = json.loads(run(place, "--json", "-"))["report"]
    assert report["map50"] == 1.0
    assert report["map50_95"] == 0.4, "IoU 0.50, 0.55, 0.60 and 0.65 of ten"


def test_a_label_numbered_zero_counts(place: Path) -> None:
    labels = labels_of()
    labels["annotations"] = labels["annotations"][:1]
    write(place, labels)
    assert json.loads(run(place, "--json", "-"))["report"]["map50"] == 1.0


def test_a_model_that_finds_nothing_scores_zero(place: Path) -> None:
    report = json.loads(run(place, "--json", "-", "--confidence", "0.95"))["report"]
    assert (report["map50_95"], report["boxes"]) == (0.0, 0)
    assert [one["map50"] for one in report["classes"]] == [0.0] * 3


def test_people_get_a_table(place: Path) -> None:
    shown = run(place)
    assert "mAP50-95 1.0000" in shown
    assert "green" in shown


def test_a_model_that_lost_too_much_fails_and_says_where(place: Path) -> None:
    against = ("--baseline", place / "good.onnx", "--max-drop", "0.02")
    document = json.loads(run(place, *against, "--json", "-", model="weak.onnx", status=1))
    comparison = document["comparison"]
    assert (comparison["passed"], comparison["drop"]) == (False, 1.0)
    assert comparison["classes"][0]["drop"] == 1.0
    assert "MORE THAN" in run(place, *against, model="weak.onnx", status=1)


def test_a_model_that_lost_nothing_passes(place: Path) -> None:
    against = ("--baseline", place / "weak.onnx", "--max-drop", "0")
    assert json.loads(run(place, *against, "--json", "-"))["comparison"]["passed"]


def test_plots_are_pictures(place: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra `report` is not installed")
    run(place, "--plots", place / "plots")
    for name in ("precision-recall.png", "confusion.png"):
        assert models.read_picture(place / "plots" / name).shape[0] > 200


def test_plots_without_their_library_name_the_extra(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(ConfigError, match="matplotlib") as caught:
        run(place, "--plots", place / "plots")
    assert "vigil-agent[report]" in caught.value.hint
    assert not (place / "plots").exists()


def changed(field: str, **changes: object) -> dict[str, Any]:
    labels = labels_of()
    labels[field][1] |= changes
    return labels


@pytest.mark.parametrize(
    ("labels", "complaint"),
    [
        ("{", r"expected JSON"),
        ("[]", r"at \$"),
        ({"images": [], "annotations": [], "categories": []}, r"\$\.images"),
        (changed("annotations", bbox=[1, 2, 3]), r"\$\.annotations\[1\]\.bbox"),
        (changed("annotations", bbox=[1, 2, 3, -4]), r"\$\.annotations\[1\]\.bbox"),
        (changed("annotations", image_id=99), r"\$\.annotations\[1\]\.image_id: 99"),
        (changed("annotations", category_id=7), r"\$\.annotations\[1\]\.category_id: 7"),
        (changed("images", id=0), r"found 0 twice"),
        (changed("images", file_name="gone.png"), r"1 of 3 pictures are missing, first gone.png"),
        (changed("categories", id=4), r"category_id: 1"),
        (changed("categories", name="teal"), r"category 1 is 'teal', class 1 .* is 'green'"),
    ],
)
def test_labels_that_cannot_be_right_are_refused(
    place: Path, labels: object, complaint: str
) -> None:
    write(place, labels)
    with pytest.raises(ConfigError, match=complaint):
        run(place)


def test_a_dataset_of_other_classes_is_refused(place: Path) -> None:
    labels = labels_of()
    labels["categories"].append({"id": 3, "name": "black"})
    write(place, labels)
    with pytest.raises(ConfigError, match=r"category 3 is 'black', class 3 .* is missing"):
        run(place)


def test_other_names_of_the_same_classes_can_be_stated(place: Path) -> None:
    labels = labels_of()
    for one, name in zip(labels["categories"], ("rot", "grün", "blau"), strict=True):
        one["name"] = name
    write(place, labels)
    names = place / "names.txt"
    names.write_text("rot\ngrün\nblau\n", "utf-8")
    report = json.loads(run(place, "--labels", names, "--json", "-"))["report"]
    assert report["map50"] == 1.0


def test_a_picture_that_is_none_and_a_model_that_is_none_are_errors(place: Path) -> None:
    with pytest.raises(ModelError):
        run(place, model="instances.json")
    (place / "pictures" / "green.png").write_bytes(b"no picture")
    with pytest.raises(CameraError, match=r"green\.png"):
        run(place)


def test_confusion_counts_what_lies_where() -> None:
    def one(label: int, x: float, score: float = 0.9, crowd: int = 0) -> dict[str, Any]:
        box = {"image_id": 1, "bbox": [x, 0.0, 10.0, 10.0], "category_id": label}
        return {**box, "score": score, "iscrowd": crowd}

    there = [one(0, 0), one(1, 100), one(0, 200), one(1, 300, crowd=1)]
    found = [one(0, 1), one(0, 101), one(1, 400), one(1, 300), one(0, 0, score=0.1)]
    matrix = confusion(there, found, classes=2)
    assert matrix.tolist() == [[1, 0, 1], [1, 0, 0], [0, 1, 0]]


def test_the_bundled_model_is_as_accurate_as_it_was_measured(tmp_path: Path) -> None:
    """The first 60 frames of the film stand for all: a wrong letterbox or colour order halves the figure."""
    labels = labels_of_first_frames(tmp_path / "labels.json")
    sources = ("--dataset", labels, "--images", BUNDLED / "conveyor.mp4")
    arguments = ("--model", BUNDLED / "parts-1.onnx", *sources, "--json", "-")
    result = CliRunner().invoke(app, [str(one) for one in arguments])
    assert json.loads(result.stdout)["report"]["map50"] > 0.6
    assert np.isfinite(json.loads(result.stdout)["report"]["map50_95"])
