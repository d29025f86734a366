"""`vigil detect` from the command line."""

import itertools
import json
import signal
import subprocess
import sys
from http import HTTPStatus
from pathlib import Path

import cv2
import httpx
import pytest
import typer
from typer.testing import CliRunner

import agent.demo
from agent.cli.detect import detect
from agent.cli.live_page import LivePage
from agent.errors import CameraError, ConfigError, ModelError, VigilError
from tests.parts.processes import vigil
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
    models.colour_film(film, 5)
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
        (CameraError, ("/dev/video99", "--model", model)),
        (CameraError, ("rtsp://127.0.0.1:9/none", "--model", model)),
        (CameraError, ("nonsense:", "--model", model)),
        (ConfigError, (tmp_path / "nowhere.png", "--model", model)),
        (ModelError, (pictures, "--model", rubbish)),
        (ModelError, (pictures, "--model", model, "--backend", "litert")),
        (ConfigError, (pictures, "--model", model, "--labels", no_names)),
    ]
    for kind, arguments in cases:
        with pytest.raises(kind):
            run(*arguments)


def test_a_fault_is_one_message_whatever_the_libraries_say(model: Path, tmp_path: Path) -> None:
    rubbish, cut = tmp_path / "rubbish.mp4", tmp_path / "cut.mp4"
    rubbish.write_bytes(b"no video")
    cut.write_bytes(
        (Path(agent.demo.__file__).parent / "bundled/conveyor.mp4").read_bytes()[:20000]
    )
    for source, problem in (
        (rubbish, "neither picture nor video"),
        (cut, "no picture of this video can be decoded"),
        ("/dev/video99", "plug it in"),
        ("rtsp://ada:secret@127.0.0.1:9/none", "check power, cable, address"),
    ):
        result = vigil("detect", str(source), "--model", str(model))
        assert result.returncode == 1
        assert result.stdout == ""
        assert result.stderr.startswith("vigil: ")
        assert problem in result.stderr
        assert result.stderr.count("[camera.") == 1
        assert "secret" not in result.stderr


def test_a_camera_is_watched_until_it_is_enough(model: Path) -> None:
    lines = run("pattern:64x64", "--model", model, "--json", "--frames", "3").splitlines()
    frames = [json.loads(line)["frame"] for line in lines]
    assert len(frames) == 3
    assert frames == sorted(set(frames))


def test_people_get_a_line_when_a_camera_sees_something_else(model: Path) -> None:
    lines = run("pattern:64x64", "--model", model, "--frames", "5").splitlines()
    assert 1 <= len(lines) <= 5
    assert all(line.startswith("frame ") for line in lines)
    seen = [line.partition(": ")[2].partition(" (")[0] for line in lines]
    assert all(one != other for one, other in itertools.pairwise(seen))


def test_ctrl_c_ends_a_camera_without_a_complaint(model: Path) -> None:
    command = [sys.executable, "-m", "agent", "detect", "pattern:", "--model", str(model), "--json"]
    # A shell that runs the tests in the background has them, and their children, ignore Ctrl-C.
    heeding = ["env", "--default-signal=INT"]
    watching = subprocess.Popen(
        [*heeding, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert watching.stdout is not None
    assert json.loads(watching.stdout.readline())["source"] == "pattern"
    watching.send_signal(signal.SIGINT)
    _, complaint = watching.communicate(timeout=30)
    assert (watching.returncode, complaint) == (0, "")


def test_the_newest_picture_is_shown_on_a_page_of_this_machine() -> None:
    with LivePage() as page:
        index = httpx.get(page.url)
        assert '<img src="/pictures"' in index.text
        assert "default-src 'none'" in index.headers["Content-Security-Policy"]
        rebound = httpx.get(page.url, headers={"Host": "elsewhere.example"})
        assert rebound.status_code == HTTPStatus.MISDIRECTED_REQUEST
        with httpx.stream("GET", f"{page.url}pictures") as stream:
            parts = stream.iter_raw()
            for picture in (b"first picture", b"second picture"):
                page.show(picture)
                assert picture in next(parts)
        url = page.url
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


def test_show_says_where_to_look(model: Path, pictures: Path) -> None:
    arguments = [str(pictures), "--model", str(model), "--json", "--show"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0
    assert "http://127.0.0.1:" in result.stderr
    assert len(result.stdout.splitlines()) == len(models.LABELS)
