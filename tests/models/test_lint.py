"""`vigil profile lint`: what is wrong, where, and what was expected instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.errors import ConfigError
from agent.models.lint import lint, lint_text

FOLDER = Path(__file__).resolve().parents[2] / "device_profiles"
GOOD = """\
schema: 1
name: board
description: a board
match: {}
prefer:
  - backend: onnxruntime
    precision: fp32
    sizes: [320]
limits:
  memory_mb: 512
"""


def test_the_profiles_of_the_repository_have_no_fault() -> None:
    assert lint(sorted(FOLDER.glob("*.yaml"))) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("memory_mb: 512", "memory_mb: lots", "x:10: at $.limits.memory_mb: expected int, found 'lots' (str)"),
        ("memory_mb: 512", "memory_mb: -5", "x:10: at $.limits.memory_mb: expected int >= 1, found -5"),
        ("fp32", "fp64", "x:7: at $.prefer[0].precision: expected one of fp32, fp16, dynamic-int8, int8, found 'fp64'"),
        ("[320]", "[320, 0]", "x:8: at $.prefer[0].sizes[1]: expected int >= 1, found 0"),
        ("[320]", "[]", "x:8: at $.prefer[0].sizes: expected array of length >= 1, found []"),
        ("description: a board\n", "", "x:1: at $.description: expected a value, found nothing"),
        ("    sizes", "    size", "x:6: at $.prefer[0].sizes: expected a value, found nothing"),
        ("schema: 1", "schema: 2", "x:1: at $.schema: expected 1, found 2"),
        ("  memory_mb: 512", "  target_fps: 60", "x:10: at $.limits.target_fps: expected at most the camera's 15 frames a second, found 60"),
        ("match: {}", "match: {}\nruntime: { threads: 2, streams: 3 }", "x:5: at $.runtime.streams: expected at most as many as the 2 threads they share, found 3"),
        ("match: {}", "match: [", "x:6: at $: expected YAML, found an error"),
    ],
)  # fmt: skip
def test_a_fault_is_named_with_file_line_place_expected_and_found(
    old: str, new: str, said: str
) -> None:
    assert said in "\n".join(map(str, lint_text(GOOD.replace(old, new), "x")))


def test_an_unknown_field_is_shown_with_those_there_are() -> None:
    (fault,) = lint_text(f"{GOOD}  colour: red\n", "x")
    assert (fault.line, fault.place) == (11, "$.limits.colour")
    assert "memory_mb, latency_ms" in fault.expected


def test_every_fault_is_found_in_one_go() -> None:
    text = GOOD.replace("fp32", "fp64").replace("512", "lots").replace("name: board", "name: No No")
    assert [fault.line for fault in lint_text(text, "x")] == [2, 7, 10]


@pytest.mark.parametrize("text", ["", "5", "- a", "a: &a [*a]\n", "[" * 2000])
def test_what_is_no_profile_at_all_is_a_fault_and_no_crash(text: str) -> None:
    assert lint_text(text, "x")


def test_a_runtime_that_is_preferred_twice_is_a_contradiction() -> None:
    twice = "  - { backend: onnxruntime, precision: fp32, sizes: [640] }\n"
    (fault,) = lint_text(GOOD.replace("limits:", f"{twice}limits:"), "x")
    assert (fault.line, fault.found) == (9, "onnxruntime fp32 again")


def test_two_files_of_one_name_are_a_fault_of_the_second(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(GOOD)
    (fault,) = lint(sorted(tmp_path.iterdir()))
    assert fault.file.endswith("b.yaml")
    assert "as in a.yaml" in fault.found


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"a\.yaml"):
        lint([tmp_path / "a.yaml"])
