"""INT8 of LiteRT files: whole-integer, or decoded in float; what loses more than its budget is refused."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from agent.cli.quantise import calibration_inputs
from agent.errors import PackageError
from agent.release.litert_archive import dateless, joined, split
from agent.release.optimise.settings import Ranges
from agent.release.quantise_litert import LiteRtQuantiser
from agent.vision.detector import load_detector
from tests.release.drafts import BUNDLED, vigil
from tests.release.litert_files import write_float_litert

INPUT = (1, 3, 320, 320)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_float_litert(tmp_path_factory.mktemp("litert") / "parts.tflite")


@pytest.fixture(scope="module")
def tries(model: Path, scene: Path) -> dict[str, bytes]:
    """Every try, by its name."""
    inputs = calibration_inputs(load_detector(model), scene / "pictures", 4)
    with LiteRtQuantiser(model, inputs, Ranges.STATIC) as quantiser:
        return dict(quantiser.tries())


def quantise(model: Path, scene: Path, calibrate: Path, out: Path, *options: str) -> str:
    truth = ("--dataset", scene / "truth.json", "--images", scene / "pictures")
    budget = ("--max-drop", 0.08, "--pictures", 8, "--out", out)
    return vigil("release", "quantise", model, "--calibrate", calibrate, *truth, *budget, *options)


def ends(model: bytes) -> tuple[type, type]:
    """Return the types of the input and of the output."""
    interpreter = Interpreter(model_content=split(model)[0])
    return interpreter.get_input_details()[0]["dtype"], interpreter.get_output_details()[0]["dtype"]


def test_the_first_try_is_integer_from_end_to_end_and_the_next_decodes_in_float(
    tries: dict[str, bytes], model: Path
) -> None:
    whole, decoded, spared, *_ = tries.values()
    assert ends(whole) == (np.int8, np.int8)
    assert ends(decoded)[1] is np.float32
    assert len(whole) < len(decoded) < len(spared) < model.stat().st_size


def test_what_the_file_says_of_itself_stays_with_it(
    tries: dict[str, bytes], model: Path, tmp_path: Path
) -> None:
    path = tmp_path / "int8.tflite"
    path.write_bytes(tries["int8 throughout"])
    made, source = load_detector(path).facts, load_detector(model).facts
    assert (made.labels, made.box_units) == (source.labels, source.box_units)


def test_decoding_in_float_keeps_boxes_where_they_were(
    tries: dict[str, bytes], model: Path, scene: Path, tmp_path: Path
) -> None:
    picture = cv2.imread(str(scene / "pictures/000.png"))
    assert picture is not None
    exact = load_detector(model).detect(picture.astype(np.uint8))
    found = {}
    for name in ("int8 throughout", "int8, decoded in float"):
        path = tmp_path / "int8.tflite"
        path.write_bytes(tries[name])
        boxes = load_detector(path).detect(picture.astype(np.uint8)).boxes
        distances = np.abs(exact.boxes[:, None] - boxes[None]).max(axis=2)
        found[name] = float(np.median(distances.min(axis=1)))
    assert found["int8, decoded in float"] < 0.7 * found["int8 throughout"]


def test_a_file_within_its_budget_is_written(model: Path, scene: Path, tmp_path: Path) -> None:
    quantise(model, scene, scene / "pictures", tmp_path / "int8.tflite")
    # Whole-integer it would have lost more.
    assert ends((tmp_path / "int8.tflite").read_bytes()) == (np.int8, np.float32)


def test_dynamic_ranges_leave_activations_in_float(
    model: Path, scene: Path, tmp_path: Path
) -> None:
    out = tmp_path / "dynamic.tflite"
    quantise(model, scene, scene / "pictures", out, "--ranges", "dynamic")
    assert ends(out.read_bytes()) == (np.float32, np.float32)
    assert out.stat().st_size < 0.4 * model.stat().st_size


def test_calibration_on_darkness_is_refused_with_the_classes_that_lost_most(
    model: Path, scene: Path, tmp_path: Path
) -> None:
    dark, out = tmp_path / "dark", tmp_path / "int8.tflite"
    dark.mkdir()
    cv2.imwrite(str(dark / "night.png"), np.zeros((360, 640, 3), np.uint8))
    with pytest.raises(PackageError, match=r"loses .* most: \w+") as refused:
        quantise(model, scene, dark, out)
    assert refused.value.code == "package.accuracy"
    assert not out.exists()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (b"", "cannot be read as LiteRT"),
        (b"rubbish" * 100, "cannot be read as LiteRT"),
        ((BUNDLED / "parts-2.tflite").read_bytes(), "expected float convolutions"),
    ],
)
def test_what_is_no_float_file_is_refused(tmp_path: Path, source: bytes, words: str) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(source)
    with pytest.raises(PackageError, match=words) as refused:
        LiteRtQuantiser(path, [np.zeros(INPUT, np.float32)], Ranges.STATIC)
    assert str(path) in refused.value.message


@pytest.mark.parametrize("options", [("--ranges", "dynamic"), ("--method", "percentile")])
def test_what_the_runtime_cannot_do_is_refused_before_anything_is_read(
    scene: Path, tmp_path: Path, options: tuple[str, str]
) -> None:
    name = "parts-2.onnx" if options[0] == "--ranges" else "parts-2.tflite"
    with pytest.raises(AssertionError, match=options[0]):
        quantise(BUNDLED / name, scene, scene / "pictures", tmp_path / f"out-{name}", *options)


def test_an_archive_keeps_everything_but_the_day() -> None:
    files = {"metadata.json": b'{"date": "2026-01-01", "task": "detect"}', "note.txt": b"n"}
    network, kept = split(dateless(joined(b"network", files)))
    assert network == b"network"
    assert kept == {"metadata.json": b'{"task": "detect"}', "note.txt": b"n"}
    assert split(b"network") == (b"network", {})
