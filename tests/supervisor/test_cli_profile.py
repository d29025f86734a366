"""`vigil profile` from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from agent.cli import profile_measure
from agent.cli.profile import app
from agent.errors import ConfigError
from agent.models import profiles
from agent.schema.manifest import SealedFile
from tests.parts import boards, jetsons
from tests.parts.coco import coco_manifest, write_manifest
from tests.parts.releases import manifest, variant
from tests.vision import models

FOLDER = Path(__file__).resolve().parents[2] / "device_profiles"


def run(*arguments: object, status: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == status, result.output
    return result.output


def run_json(*arguments: object, status: int = 0) -> Any:
    return json.loads(run(*arguments, "--json", status=status))


def test_detect_shows_board_profile_and_what_to_mend(tmp_path: Path) -> None:
    text = run("detect", "--root", jetsons.jetson_nano(tmp_path))
    assert "NVIDIA Jetson Nano Developer Kit" in text
    assert "jetson-nano: " in text
    assert "skew.python" in text
    assert "compute capability 5.3" in text


def test_detect_shows_throttling_by_name(tmp_path: Path) -> None:
    text = run("detect", "--root", boards.raspberry_pi_4(tmp_path))
    assert "throttling now" in text
    assert "under-voltage, throttled" in text


def test_detect_as_json_is_complete(tmp_path: Path) -> None:
    found = run_json("detect", "--root", jetsons.jetson_orin_nano_super(tmp_path))
    assert found["profile"] == "jetson-orin-nano-super"
    assert found["facts"]["power_mode"] == "MAXN_SUPER"
    assert found["facts"]["throttling"]["over_current"] == {"oc1": 0, "oc2": 15, "oc3": 37}
    assert (found["warnings"], found["skew"]) == ([], [])


def test_detect_of_a_board_that_nothing_fits_still_shows_its_facts(tmp_path: Path) -> None:
    boards.put(tmp_path, "proc/sys/kernel/arch", "riscv64")
    boards.put(tmp_path, "proc/device-tree/model", "VisionFive 2")
    result = CliRunner().invoke(app, ["detect", "--root", str(tmp_path)])
    assert isinstance(result.exception, ConfigError)
    assert "VisionFive 2" in result.output
    assert "profiles.d" in result.exception.hint


def test_profiles_are_listed_and_shown() -> None:
    assert "raspberry-pi-5" in run("list")
    listed = {one["name"]: one for one in run_json("list")["profiles"]}
    assert listed["raspberry-pi-5"] == run_json("show", "raspberry-pi-5")
    assert "libedgetpu.so.1" in run("show", "raspberry-pi-coral")
    assert run_json("show", "raspberry-pi-5")["limits"]["target_fps"] == 10
    with pytest.raises(ConfigError, match="found 'pi5'"):
        run("show", "pi5")


def test_choose_ranks_and_explains(tmp_path: Path) -> None:
    root, release = boards.raspberry_pi_4_coral(tmp_path), write_manifest(tmp_path)
    choice = run_json("choose", "--manifest", release, "--root", root, "--state", tmp_path)
    assert choice["variant"] == "litert-int8-416-edgetpu"
    assert len(choice["verdicts"]) == len(coco_manifest().variants) >= 8
    assert all(verdict["reason"] for verdict in choice["verdicts"])
    text = run("choose", "--manifest", release, "--root", root, "--state", tmp_path)
    assert text.index("litert-int8-416-edgetpu") < text.index("litert-int8-640-e2e")


def test_choose_for_another_profile_says_which_runtime_is_missing(tmp_path: Path) -> None:
    root, release = boards.small_pc(tmp_path), write_manifest(tmp_path)
    options = ("--manifest", release, "--root", root, "--profile", "jetson-orin-nano")
    choice = run_json("choose", *options, "--state", tmp_path)
    reasons = {verdict["variant"]: verdict["reason"] for verdict in choice["verdicts"]}
    assert "runtime tensorrt is not installed" in reasons["tensorrt-fp16-640"]
    assert choice["variant"] == "litert-int8-320"


def test_where_nothing_fits_every_reason_is_listed_and_the_status_is_1(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    strict = (FOLDER / "generic-x86-64.yaml").read_text().replace("memory_mb: 4096", "memory_mb: 8")
    (site / "generic-x86-64.yaml").write_text(strict)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(profiles, "SITE_FOLDER", site)
        root, release = boards.small_pc(tmp_path), write_manifest(tmp_path)
        options = ("--manifest", release, "--root", root, "--state", tmp_path)
        choice = run_json("choose", *options, status=1)
        assert choice["variant"] is None
        assert sum("8 MiB may be used" in each["reason"] for each in choice["verdicts"]) == 11
        assert "stays reachable" in run("choose", *options, status=1)


def test_a_file_that_is_no_manifest_is_named(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"schema": 1}')
    with pytest.raises(ConfigError, match=r"manifest\.json: at \$"):
        run("choose", "--manifest", tmp_path / "manifest.json")


def test_lint_says_what_is_wrong_and_ends_with_78(tmp_path: Path) -> None:
    assert "14 profiles, no fault" in run("lint", *sorted(FOLDER.glob("*.yaml")))
    (tmp_path / "bad.yaml").write_text("schema: 1\nname: x\ndescription: d\nmatch: {}\nprefer: 5\n")
    text = run("lint", tmp_path / "bad.yaml", status=78)
    assert "bad.yaml:5: at $.prefer: expected array, found 5" in text
    told = run_json("lint", tmp_path / "bad.yaml", status=78)
    assert told["profiles"] == 1
    (fault,) = told["faults"]
    assert (fault["line"], fault["place"], fault["found"]) == (5, "$.prefer", "5")


def test_the_schema_is_printed_as_committed() -> None:
    assert run("schema") == (FOLDER / "profile.schema.json").read_text()


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A release of two tiny models that run here, and one whose file is not there."""
    payloads = {}
    for name, gain in (("good", 1.0), ("fast", 0.9)):
        (tmp_path / f"{name}.onnx").write_bytes(models.onnx_model(gain=gain))
        digest = ("a" if name == "good" else "b") * 64
        payloads[name] = SealedFile(file=f"{name}.sealed", size=1, sha256=digest)
    absent = SealedFile(file="absent.sealed", size=1, sha256="c" * 64)
    made = manifest(
        variant(models.SIZE, id="good", accuracy=0.9, payload=payloads["good"]),
        variant(models.SIZE, id="fast", accuracy=0.5, payload=payloads["fast"]),
        variant(models.SIZE, id="absent", accuracy=0.4, payload=absent),
        labels=models.LABELS,
    )
    return write_manifest(tmp_path, made)


def test_what_is_measured_is_kept_and_chosen_by(release: Path, tmp_path: Path) -> None:
    options = ("--manifest", release, "--state", tmp_path / "state", "--profile", "generic-x86-64")
    found = run_json("measure", *options, "--models", tmp_path, "--seconds", 1)
    figures = {each["variant"]: each["measurement"] for each in found["outcomes"]}
    assert figures["good"]["p95_ms"] > 0
    assert figures["absent"] is None
    assert found["after"]["variant"] == "good"
    verdicts = run_json("choose", *options)["verdicts"]
    assert [verdict["measured"] for verdict in verdicts] == [True, True, False]
    notes = {each["variant"]: each["note"] for each in
             run_json("measure", *options, "--models", tmp_path, "--seconds", 1)["outcomes"]}  # fmt: skip
    assert "measured before" in notes["good"]
    assert "no file absent" in notes["absent"]


def test_a_slow_measurement_moves_the_choice_to_the_next(release: Path, tmp_path: Path) -> None:
    options = ("--manifest", release, "--state", tmp_path / "state", "--profile", "generic-x86-64")
    run("measure", *options, "--models", tmp_path, "--seconds", 1)
    kept = tmp_path / "state" / "measurements.json"
    tree = json.loads(kept.read_text())
    for each in tree["measurements"]:
        each["p95_ms"] = 400.0 if each["payload"] == "a" * 64 else 4.0
    kept.write_text(json.dumps(tree))
    choice = run_json("choose", *options)
    assert choice["variant"] == "fast"
    assert "400.0 ms (measured here) is over the limit" in choice["verdicts"][0]["reason"]


def test_a_model_that_cannot_be_loaded_is_noted_and_the_others_are_measured(
    release: Path, tmp_path: Path
) -> None:
    (tmp_path / "good.onnx").write_bytes(b"rubbish" * 99)
    options = ("--manifest", release, "--state", tmp_path / "state", "--profile", "generic-x86-64")
    files = ("--model", tmp_path / "good.onnx", "--model", tmp_path / "fast.onnx")
    found = run_json("measure", *options, *files, "--seconds", 1)
    by_name = {each["variant"]: each for each in found["outcomes"]}
    assert by_name["good"]["note"]
    assert by_name["fast"]["measurement"]["p95_ms"] > 0


def test_without_any_fitting_file_it_says_which_names_it_looked_for(
    release: Path, tmp_path: Path
) -> None:
    options = ("--manifest", release, "--profile", "generic-x86-64", "--state", tmp_path / "state")
    with pytest.raises(ConfigError, match="expected good, fast, absent"):
        run("measure", *options)


def test_a_file_is_found_by_its_content_too(tmp_path: Path) -> None:
    file = tmp_path / "renamed.bin"
    file.write_bytes(b"weights")
    digest = "9a8dd7fd9b6ff4b5a9eb0f1d5cd8a2b9f3e4b5c6d7e8f90112233445566778899"[:64]
    payload = SealedFile(file="x.sealed", size=7, sha256=digest)
    one = variant(payload=payload)
    assert profile_measure.find_file(one, [file]) is None
    true = msgspec.structs.replace(payload, sha256=profile_measure._digest(file))
    assert profile_measure.find_file(variant(payload=true), [file]) == file
