"""`vigil detect` from the command line."""

import json
from pathlib import Path

import cv2
import pytest
import typer
from typer.testing import CliRunner

from agent.cli.detect import detect
from agent.errors import CameraError, ConfigError, ModelError, VigilError
from tests.vision import models

app = typer.Typer()
app.command()(detect)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "colour.onnx"
    path.write_bytes(models.onnx_model())
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for label, name in enumerate(models.LABELS):
        cv2.imwrite(str(folder / f"{label}-{name}.png"), models.colour_frame(label))
    return folder


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_folder_gives_one_json_document_a_picture(model: Path, pictures: Path) -> None:
    lines = [json.loads(line) for line in run(pictures, "--model", model, "--json").splitlines()]
    assert [line["objects"][0]["label"] for line in lines] == models.LABELS
    first = lines[0]
    assert first["objects"][0]["box"] == list(models.BOX_XYXY)
    assert (first["width"], first["height"], first["frame"]) == (32, 32, 0)
    assert set(first["stages_ms"]) == {"pre", "infer", "post"}


def test_a_table_is_shown_to_people(model: Path, pictures: Path) -> None:
    table = run(pictures, "--model", model)
    assert "1 red" in table
    assert "2-blue.png" in table


def test_annotated_pictures_are_saved(model: Path, pictures: Path, tmp_path: Path) -> None:
    run(pictures, "--model", model, "--json", "--save", tmp_path / "out")
    saved = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert saved == ["0-red-000000.jpg", "1-green-000000.jpg", "2-blue-000000.jpg"]
    drawn = models.read_picture(tmp_path / "out" / saved[0])
    assert drawn.shape == (32, 32, 3)
    assert drawn[:, :, 1].max() > 100, "nothing is drawn in green on red"


def test_the_threshold_counts(model: Path, pictures: Path) -> None:
    line = run(pictures / "0-red.png", "--model", model, "--json", "--confidence", "0.95")
    assert json.loads(line)["objects"] == []


def test_a_video_gives_every_frame(model: Path, tmp_path: Path) -> None:
    film = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(film), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 64))
    for label in (0, 1, 2, 0, 1):
        writer.write(models.colour_frame(label, size=(64, 64)))
    writer.release()
    lines = [json.loads(line) for line in run(film, "--model", model, "--json").splitlines()]
    assert [line["frame"] for line in lines] == [0, 1, 2, 3, 4]
    assert [line["objects"][0]["label"] for line in lines] == [
        "red",
        "green",
        "blue",
        "red",
        "green",
    ]


def test_family_and_labels_can_be_stated(pictures: Path, tmp_path: Path) -> None:
    silent = tmp_path / "silent.onnx"
    silent.write_bytes(models.onnx_model(metadata={}))
    names = tmp_path / "names.txt"
    names.write_text("rot\ngrün\nblau\n", "utf-8")
    stated = ("--family", "ultralytics", "--labels", names)
    line = run(pictures / "2-blue.png", "--model", silent, "--json", *stated)
    assert json.loads(line)["objects"][0]["label"] == "blau"


def test_faults_are_errors_that_say_what_to_do(model: Path, pictures: Path, tmp_path: Path) -> None:
    rubbish, empty = tmp_path / "rubbish.png", tmp_path / "empty"
    rubbish.write_bytes(b"no picture")
    empty.mkdir()
    no_names = tmp_path / "names.txt"
    no_names.write_text("\n")
    cases: list[tuple[type[VigilError], tuple[object, ...]]] = [
        (CameraError, (rubbish, "--model", model, "--json")),
        (CameraError, (empty, "--model", model)),
        (CameraError, (no_names, "--model", model)),
        (ModelError, (pictures, "--model", rubbish)),
        (ModelError, (pictures, "--model", model, "--backend", "litert")),
        (ConfigError, (pictures, "--model", model, "--labels", no_names)),
    ]
    for kind, arguments in cases:
        with pytest.raises(kind):
            run(*arguments)
