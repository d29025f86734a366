"""What a model file says about itself is read as data; what it does not say is asked for."""

import json
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import ModelError
from agent.vision.card import ModelCard, appended_metadata, read_card
from agent.vision.detector import load_detector
from tests.vision import models

RGB = ("red", "green", "blue")


def test_names_may_be_a_python_literal_or_a_list_or_have_text_keys() -> None:
    for names in (
        "{0: 'red', 1: 'green', 2: 'blue'}",
        str(list(RGB)),
        "{'2': 'blue', '0': 'red', '1': 'green'}",
    ):
        card = read_card({"names": names, "task": "detect"})
        assert card == ModelCard(RGB, "detect", end_to_end=False)


def test_a_graph_that_ends_in_boxes_says_so_in_two_ways() -> None:
    base = {"names": "['a']", "task": "detect"}
    for more in ({"end2end": "True"}, {"args": "{'nms': True}"}):
        card = read_card(base | more)
        assert card is not None
        assert card.end_to_end


def test_other_metadata_is_no_card() -> None:
    assert read_card({}) is None
    assert read_card({"producer": "somebody"}) is None


@pytest.mark.parametrize(
    "names",
    [
        "",
        "{",
        "open('/etc/passwd')",
        "{0: 'a', 2: 'b'}",
        "{'x': 'a'}",
        "7",
        "{}",
        "(" * 5000,
        "'" + "a" * 300_000 + "'",
    ],
)
def test_names_that_are_no_class_names_are_an_error(names: str) -> None:
    with pytest.raises(ModelError) as caught:
        read_card({"names": names, "task": "detect"})
    assert caught.value.code == "model.metadata"
    assert "--labels" in caught.value.hint


@given(st.dictionaries(st.sampled_from(["names", "task", "end2end", "args"]), st.text(max_size=60)))
def test_any_texts_give_a_card_or_nothing_or_a_model_error(metadata: dict[str, str]) -> None:
    try:
        read_card(metadata)
    except ModelError as error:
        assert error.code == "model.metadata"  # noqa: PT017 - success is right too


@pytest.mark.parametrize("name", ["temp_meta.txt", "metadata.json"])
def test_metadata_appended_to_a_tflite_file_is_found(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(models.tflite_model())
    tree = {"names": dict(enumerate(RGB)), "task": "detect"}
    models.with_appended_metadata(path, name, json.dumps(tree) if "json" in name else repr(tree))
    card = read_card(appended_metadata(str(path)))
    assert card == ModelCard(RGB, "detect", end_to_end=False)
    assert load_detector(path).detect(models.colour_frame(2)).labels.tolist() == [2]


def test_a_bomb_in_the_archive_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(models.tflite_model())
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", b" " * 50_000_000)
    with pytest.raises(ModelError, match="more than") as caught:
        appended_metadata(str(path))
    assert caught.value.code == "model.metadata"


def test_a_damaged_archive_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", "x" * 1000)
    data = bytearray(path.read_bytes())
    data[40:50] = b"\xff" * 10
    path.write_bytes(data)
    with pytest.raises(ModelError) as caught:
        appended_metadata(str(path))
    assert caught.value.code == "model.metadata"


def test_a_silent_file_needs_family_and_labels_to_be_stated(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(models.onnx_model(metadata={}))
    for family, hint in ((None, "--family"), ("ultralytics", "--labels")):
        with pytest.raises(ModelError) as caught:
            load_detector(path, family=family)
        assert caught.value.code == "model.ambiguous"
        assert hint in caught.value.hint
    load_detector(path, family="ultralytics", labels=models.LABELS)


def test_a_model_of_another_task_than_stated_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(models.onnx_model(models.METADATA | {"task": "segment"}))
    with pytest.raises(ModelError, match="expected a model for detect, found segment") as caught:
        load_detector(path, family="ultralytics", labels=models.LABELS, task="detect")
    assert caught.value.code == "model.task"
    assert "segment" in caught.value.hint


def test_a_model_for_a_task_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(models.onnx_model(models.METADATA | {"task": "fortune-telling"}))
    with pytest.raises(ModelError, match="fortune-telling") as caught:
        load_detector(path)
    assert caught.value.code == "model.task"


def test_a_file_of_no_known_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    for data in (b"", b"\x89PNG\r\n\x1a\n", b"PK\x03\x04"):
        path.write_bytes(data)
        with pytest.raises(ModelError) as caught:
            load_detector(path)
        assert caught.value.code == "model.format"
    with pytest.raises(ModelError) as caught:
        load_detector(tmp_path / "absent.onnx")
    assert caught.value.code == "model.missing"
