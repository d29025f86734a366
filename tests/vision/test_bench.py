"""`vigil bench`: that it measures the real thing; how fast that is, no test can say."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import agent
from agent.cli import bench as command
from agent.cli.bench_report import Laps, limit_fps, median_ratio, mode_report
from agent.errors import ConfigError, ModelError, VigilError
from agent.host.board import read_facts
from agent.models.profiles import load_profiles, recognise
from agent.schema import ipc
from agent.schema.config import CameraConfig
from agent.schema.document import to_json
from agent.vision.benchmark import Lap, ModelFile
from tests.vision import models
from tests.vision.peer import Peer

CRASHES = Path(agent.__file__).parent / "demo" / "bundled" / "faulty-crash.onnx"
FRAMES = 40
app = typer.Typer()
app.command()(command.bench)


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.avi"
    models.colour_film(path, FRAMES)
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "colour.onnx"
    path.write_bytes(models.onnx_model())
    return path


def run(*arguments: object) -> dict[str, Any]:
    options = [str(one) for one in (*arguments, "--seconds", "0.5", "--json", "-")]
    result = CliRunner().invoke(app, options)
    if isinstance(result.exception, VigilError):
        raise result.exception
    assert result.exit_code == 0, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def test_a_recording_that_is_not_paced_loses_no_frame(film: Path) -> None:
    peer = Peer()
    peer.load(models.onnx_model())
    camera = CameraConfig(name="film", source=str(film), loop=False, paced=False)
    seen = [one.frame for one in peer.whole_film(camera, FRAMES)]
    peer.ask(ipc.Done, ipc.CloseCameras)
    peer.ask(ipc.Done, ipc.Shutdown)
    assert seen == list(range(FRAMES))


def test_every_mode_is_measured_and_named(film: Path, model: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra `report` is not installed")
    plot = tmp_path / "rates.png"
    document = run(
        "--model", f"onnx-32={model}", "--source", film, "--streams", "1", "--plot", plot
    )
    (report,) = document["runs"]
    assert set(report["modes"]) == {"raw", "serial", "pipelined"}
    stages = {mode: set(one["stages_ms"]) for mode, one in report["modes"].items()}
    assert stages["raw"] == {"infer"}
    assert stages["serial"] == {"capture", "pre", "infer", "post"}
    assert stages["pipelined"] == {"capture", "queue", "pre", "infer", "post", "publish"}
    assert report["input"] == [32, 32]
    assert report["memory"]["worker_pss_mb"] > 0
    assert report["start"]["first_result_ms"] > report["start"]["load_ms"] > 0
    assert document["measurements"] == {"onnx-32": report["infer_ms"]}
    assert models.read_picture(plot).shape[0] > 200


def test_several_streams_are_measured_beside_one(film: Path, model: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra `report` is not installed")
    plot = tmp_path / "rates.png"
    several = ("--threads", "1", "--threads", "2", "--streams", "2", "--sweep", "--plot", plot)
    document = run("--model", model, "--source", film, *several)
    one, two = document["runs"]
    assert (one["threads"], one["streams"], one["pipelined_of_streams"]) == (1, 1, None)
    assert (two["threads"], two["streams"]) == (2, 2)
    assert set(two["modes"]) - set(one["modes"]) == {"streams"}
    assert two["modes"]["streams"]["stages_ms"]["infer"]["p50"] == two["infer_ms"]
    assert two["pipelined_of_streams"] > 0
    assert models.read_picture(plot).shape[0] > 200


def test_the_boards_profile_says_how_many_frames_run_at_the_same_time(
    film: Path, model: Path
) -> None:
    streams = recognise(read_facts(), load_profiles()).runtime.streams
    (report,) = run("--model", model, "--source", film, "--threads", "4")["runs"]
    assert report["streams"] == min(streams, 4)


def test_a_sweep_measures_every_setting(film: Path, model: Path) -> None:
    threads = ("--threads", "1", "--threads", "2", "--streams", "1")
    several = ("--model", model, *threads, "--source", film)
    with pytest.raises(ConfigError, match="2 settings"):
        run(*several)
    document = run(*several, "--sweep", "--explain")
    told = document["explanations"]
    assert set(told) == {"colour x1", "colour x2"}
    settings = [effect["setting"] for effect in told["colour x2"]["effects"]]
    assert "--threads 1 --streams 1" in settings
    assert all(0 < one["share"] <= 1 for one in told.values())
    assert [one["threads"] for one in document["runs"]] == [1, 2]
    fastest = min(one["infer_ms"] for one in document["runs"])
    assert document["measurements"] == {"colour": fastest}


def test_faults_are_errors_that_say_what_to_do(film: Path, model: Path, tmp_path: Path) -> None:
    rubbish = tmp_path / "rubbish.onnx"
    rubbish.write_bytes(b"\x08 no model")
    cases: list[tuple[type[VigilError], tuple[object, ...], str]] = [
        (ConfigError, ("--model", tmp_path / "gone.onnx"), "no such model"),
        (ModelError, ("--model", rubbish), "cannot load"),
        (ModelError, ("--model", model, "--providers", "NoProvider"), "NoProvider"),
        (VigilError, ("--model", model, "--source", rubbish), "neither picture nor video"),
    ]
    for kind, arguments, complaint in cases:
        with pytest.raises(kind, match=complaint):
            run("--source", film, *arguments)


def test_a_model_that_kills_its_process_is_an_error(film: Path) -> None:
    with pytest.raises(ModelError, match="ended its process"):
        run("--model", CRASHES, "--source", film)


def test_a_process_that_nobody_hears_any_more_ends_quietly(film: Path, tmp_path: Path) -> None:
    document = to_json(ModelFile(str(tmp_path / "none.onnx"), str(film), 1)).decode()
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "agent.vision.benchmark", document]
    ended = subprocess.run(
        command, check=True, stdin=subprocess.DEVNULL, stdout=write, stderr=subprocess.PIPE
    )
    os.close(write)
    assert ended.stderr == b""


def lap(fps: float, infer_ms: float, cpu_s: float = 0.1) -> Lap:
    return Lap(10 / fps, cpu_s, [{"infer": infer_ms}] * 10)


def test_rounds_are_compared_one_by_one() -> None:
    """A machine that slows down in the second round slows both modes of that round."""
    laps: Laps = {
        "raw": [lap(100, 10), lap(50, 20), lap(100, 10)],
        "pipelined": [lap(90, 11), lap(45, 22), lap(91, 11)],
    }
    assert median_ratio(laps) == 0.9
    assert mode_report(laps["raw"]).fps == 100
    assert mode_report(laps["raw"]).cpu_ms == 10


def test_the_limit_is_what_the_cores_have_time_for() -> None:
    slow = mode_report([lap(100, 10, cpu_s=0.3)])
    modes = {"raw": mode_report([lap(100, 10)]), "serial": slow}
    assert limit_fps(modes, cores=2) == pytest.approx(66.67)
    assert limit_fps(modes, cores=4) == 100


def test_streams_that_save_cpu_time_raise_the_limit() -> None:
    modes = {
        "raw": mode_report([lap(100, 10, cpu_s=0.18)]),
        "streams": mode_report([lap(120, 16, cpu_s=0.15)]),
        "serial": mode_report([lap(80, 10, cpu_s=0.2)]),
    }
    assert limit_fps(modes, cores=2) == pytest.approx(2000 / 17, abs=0.01)
    assert limit_fps(modes, cores=4) == 120
