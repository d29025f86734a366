"""What a person mistypes on the workstation: refused in plain words, and nothing is left behind."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from agent.cli import app
from agent.errors import ConfigError, StorageError, VigilError
from tests.fleet.workshop import run, write_draft


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_key_for_a_role_that_is_none_is_not_made(here: Path) -> None:
    result = CliRunner().invoke(app, ["release", "keygen", "rott", "ada"])
    assert result.exit_code == 2
    assert "people" in result.output
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("name", ["", "../ada", "a/b", ".hidden", "with space", "x" * 64])
def test_a_key_lies_in_its_folder_and_has_a_name(here: Path, name: str) -> None:
    result = CliRunner().invoke(app, ["release", "keygen", "root", name])
    assert isinstance(result.exception, ConfigError)
    assert not [path for path in here.rglob("*") if path.is_file()]


def test_a_name_may_be_of_any_script() -> None:
    assert "keys/root/zoë.key" in run("release keygen root zoë")


def test_half_a_pair_of_keys_is_not_left_behind() -> None:
    Path("keys/root/.ada.pub.tmp").mkdir(parents=True)  # where the public key cannot be written
    with pytest.raises(StorageError):
        run("release keygen root ada")
    assert not Path("keys/root/ada.key").exists()
    Path("keys/root/.ada.pub.tmp").rmdir()
    run("release keygen root ada")


def test_a_public_key_cannot_sign_and_is_called_one() -> None:
    run("release keygen root ada")
    for name in ("grace", "linus"):
        run(f"release keygen root {name}")
    for role in ("targets", "release", "policy"):
        for name in ("ada", "grace"):
            run(f"release keygen {role} {name}")
    for role in ("snapshot", "timestamp"):
        run(f"release keygen {role} online")
    run("release init repo --class gate")
    with pytest.raises(ConfigError, match="a public key") as refused:
        run("release approve repo root --key keys/root/ada.pub")
    assert "keys/root/ada.key" in refused.value.hint


@pytest.mark.parametrize(
    "line",
    ["inspect nowhere", "refresh nowhere", "publish nowhere", "stage nowhere --renew gate"],
)
def test_a_folder_without_a_repository_is_said_to_be_one(line: str) -> None:
    for role in ("snapshot", "timestamp"):
        run(f"release keygen {role} online")
    with pytest.raises(ConfigError, match="nowhere: no repository"):
        run(f"release {line}")


def test_a_threshold_above_the_keys_there_are_names_the_role(here: Path) -> None:
    for role in ("root", "targets", "release", "policy", "snapshot", "timestamp"):
        run(f"release keygen {role} ada")
    with pytest.raises(ConfigError, match="keys/root: expected a threshold from 1 to 1 keys"):
        run("release init repo --class gate --threshold 2")
    assert not (here / "repo").exists()


def test_staging_nothing_is_no_success(here: Path) -> None:
    result = CliRunner().invoke(app, ["release", "stage", "repo"])
    assert result.exit_code == 2
    assert "--renew" in result.output


@pytest.mark.parametrize(
    "line",
    [
        "prune bad.pt --ratio 0.5 --epochs 0 --size 64 --out file/out.pt",
        "prune bad.pt --ratio 0.5 --epochs 0 --size 64 --out a/b/out.pt --json file/out.json",
        "distil bad.pt --teacher bad.pt --size 64 --data bad.pt --out file/out.pt",
        "qat bad.pt --size 64 --data bad.pt --out file/out.pt",
        "quantise bad.onnx --calibrate . --dataset bad.onnx --images . --out file/out.onnx",
        "gate bad.yaml --source bad.onnx --dataset bad.onnx --images . --json file/out.json",
        "obfuscate bad.onnx --out file/out.onnx",
        "build --recipe bad.yaml --out file/release --key-out key",
        "build --recipe bad.yaml --out release --key-out file/key",
    ],
)
def test_what_cannot_be_written_is_said_before_the_work(here: Path, line: str) -> None:
    for name in ("file", "bad.pt", "bad.onnx", "bad.yaml"):
        (here / name).touch()
    before = sorted(here.iterdir())
    with pytest.raises(StorageError, match=r"^file/\w+\S*: Not a directory") as refusal:
        run(f"release {line}")
    assert "a part of the path is a file" in refusal.value.hint
    assert sorted(here.iterdir()) == before


@pytest.mark.parametrize(("model", "out"), [("a.onnx", "b.tflite"), ("a.tflite", "b.onnx")])
def test_int8_has_the_name_of_what_it_is(here: Path, model: str, out: str) -> None:
    (here / model).touch()
    line = f"release quantise {model} --calibrate . --dataset {model} --images . --out {out}"
    result = CliRunner().invoke(app, line.split())
    assert result.exit_code == 2
    assert Path(model).suffix in result.output


def test_what_is_no_model_is_named(here: Path) -> None:
    (here / "notes.txt").write_text("no model")
    with pytest.raises(VigilError, match=r"notes\.txt: neither an ONNX nor a LiteRT model"):
        run("release obfuscate notes.txt --out out.onnx")


def test_a_build_that_fails_leaves_no_key_in_the_way() -> None:
    for name in ("ada", "grace", "linus"):
        run(f"release keygen people {name}")
    write_draft(Path("draft"))
    Path("draft/model.onnx").rename("model.onnx")
    line = "release build draft/release.yaml --out release --key-out release.key"
    with pytest.raises(VigilError):
        run(line)
    assert not Path("release.key").exists()
    assert not Path("release").exists()
    Path("model.onnx").rename("draft/model.onnx")
    run(line)
    assert Path("release.key").exists()
