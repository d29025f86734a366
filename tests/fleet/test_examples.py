"""Examples on the workstation: opened, and written as a dataset that other tools read; by commands alone."""

from __future__ import annotations

import base64
import io
import json
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from agent.cli import app
from agent.config import load_config
from agent.errors import ConfigError, TransferError, TrustError, VigilError
from agent.schema.examples import EXAMPLE_PURPOSE, Example, Reason
from agent.trust.sealed_box import close_box
from agent.vision.dataset import load_dataset
from tests.examples.conftest import box, example

Vigil = Callable[..., str]
EXPORT = "fleet export-examples from --key fleet.key --out made"
JPEG = cv2.imencode(".jpg", np.full((90, 160, 3), 90, np.uint8))[1].tobytes()


class Office:
    """A folder with a key and what came from devices."""

    def __init__(self) -> None:
        self.printed = self("fleet examples-key fleet.key")
        self.public = base64.b64decode(
            yaml.safe_load(self.printed.splitlines()[-1])["examples"]["key"]
        )

    def __call__(self, line: str) -> str:
        result = CliRunner().invoke(app, line.split())
        if result.exception is not None:
            raise result.exception
        return result.output

    def receive(self, *examples: Example, name: str = "cam-1-examples-1.tar") -> None:
        sealed = [
            close_box(msgspec.msgpack.encode(one), self.public, EXAMPLE_PURPOSE) for one in examples
        ]
        self.receive_raw(*sealed, name=name)

    @staticmethod
    def receive_raw(*sealed: bytes, name: str = "cam-1-examples-1.tar") -> None:
        Path("from").mkdir(exist_ok=True)
        with tarfile.open(Path("from") / name, "w") as tar:
            for number, data in enumerate(sealed):
                entry = tarfile.TarInfo(f"{number}.example")
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))


@pytest.fixture
def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Office:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "250")
    return Office()


def seen(**changes: object) -> Example:
    return example(jpeg=JPEG, **changes)


def test_a_dataset_of_both_forms(office: Office) -> None:
    boxes = [box(0.3, 1, (16, 9, 48, 45)), box(0.9, 0, (-8, 45, 80, 99))]
    office.receive(seen(boxes=boxes), seen(camera="yard", boxes=[], reason=Reason.CONTROL))
    assert "2 pictures (1 control, 1 uncertain)" in office(EXPORT)
    found = load_dataset(Path("made/instances.json"), Path("made/images"))
    found.require_classes(["person", "car"])
    assert [picture.shape for _, picture in found.pictures()] == [(90, 160, 3)] * 2
    assert [one["bbox"] for one in found.truth["annotations"]] == [[16, 9, 32, 36], [0, 45, 80, 45]]
    about = json.loads(Path("made/instances.json").read_text())["images"][1]
    assert (about["reason"], about["width"], about["height"]) == ("control", 160, 90)


def test_yolo_as_it_is_documented(office: Office) -> None:
    """A text beside each picture, `images` for `labels` in its path: class, centre and size in [0, 1]; classes from 0."""
    office.receive(seen(boxes=[box(0.3, 1, (16, 9, 48, 45))]), seen(camera="yard", boxes=[]))
    office(EXPORT)
    about = yaml.safe_load(Path("made/data.yaml").read_text())
    assert about["names"] == {0: "person", 1: "car"}
    assert "path" not in about  # then it is the file's own folder
    pictures = sorted((Path("made") / about["train"]).glob("*.jpg"))
    texts = [Path(str(one).replace("/images/", "/labels/")).with_suffix(".txt") for one in pictures]
    assert [one.read_text() for one in texts] == ["1 0.200000 0.300000 0.200000 0.400000\n", ""]


def test_what_was_fetched_twice_is_there_once(office: Office) -> None:
    office.receive(seen())
    office.receive(seen(), seen(captured_ms=1), name="cam-1-examples-2.tar")
    office(EXPORT)
    assert len(list(Path("made/images").iterdir())) == 2


def test_releases_with_other_classes_are_exported_apart(office: Office) -> None:
    office.receive(seen(), seen(captured_ms=1, release="shop/yolo/2.0", labels=["dog"]))
    with pytest.raises(ConfigError) as caught:
        office(EXPORT)
    assert caught.value.code == "examples.classes"
    assert not Path("made").exists()
    office(f"{EXPORT} --release shop/yolo/2.0")
    assert yaml.safe_load(Path("made/data.yaml").read_text())["names"] == {0: "dog"}


def refused(office: Office, kind: type[VigilError], words: str, line: str = EXPORT) -> None:
    with pytest.raises(kind, match=re.escape(words)):
        office(line)
    assert not Path("made").exists()


def test_what_cannot_be_opened_is_named(office: Office) -> None:
    Path("from").mkdir()
    refused(office, ConfigError, "from: no examples in it")
    (Path("from") / "x.tar").write_bytes(b"no tar" * 200)
    refused(office, TransferError, "x.tar")
    (Path("from") / "x.tar").unlink()
    office.receive(seen())
    refused(office, ConfigError, "9.9: no examples of it", f"{EXPORT} --release 9.9")
    office("fleet examples-key other.key")
    refused(office, TrustError, "not made for this key", EXPORT.replace("fleet.key", "other.key"))


@pytest.mark.parametrize("box_bytes", [b"", b"short", bytes(65), bytes(500)])
def test_bytes_that_are_no_box_are_refused(office: Office, box_bytes: bytes) -> None:
    office.receive_raw(box_bytes)
    refused(office, TrustError, "0.example")


def test_an_example_that_contradicts_itself_is_refused(office: Office) -> None:
    office.receive(seen(boxes=[box(0.5, 7)]))
    refused(office, TransferError, "a class that shop/yolo/1.2 does not have")


def test_nothing_is_overwritten(office: Office) -> None:
    office.receive(seen())
    Path("made").mkdir()
    with pytest.raises(ConfigError, match="is there already"):
        office(EXPORT)
    with pytest.raises(ConfigError, match="is there already"):
        office("fleet examples-key fleet.key")


def test_a_device_takes_the_printed_line_and_no_other_key(office: Office) -> None:
    assert Path("fleet.key").stat().st_mode & 0o777 == 0o600
    base = "schema: 1\ndevice: {id: a, class: b}\nbroker: {host: h, allow_plaintext: true}\n"
    Path("vigil.yaml").write_text(base + office.printed.splitlines()[-1])
    assert load_config(Path("vigil.yaml")).examples.key
    off_the_curve = base64.b64encode(b"\x04" + b"\x01" * 64).decode()
    for wrong in ("secret", off_the_curve):
        Path("vigil.yaml").write_text(f"{base}examples: {{key: {wrong}}}")
        with pytest.raises(ConfigError, match=r"\$\.examples\.key"):
            load_config(Path("vigil.yaml"))
