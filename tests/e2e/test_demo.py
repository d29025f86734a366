"""`vigil demo` tells the whole story, says what it measured, and leaves nothing behind, whenever it ends."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.parts.processes import until, vigil

FRAME_MS = 1000 / 15
SWAP_TOLERANCE_MS = 100.0
STORY = [
    ("parts 1.0.0", "committed", ""),
    ("parts 2.0.0", "committed", ""),
    ("parts 3.0.0", "refused", "trust.unsigned"),
    ("parts 4.0.0", "rejected", "model.crashed"),
    ("parts 5.0.0", "rejected", "model.golden"),
    ("parts 6.0.0", "rolled_back", "probation.errors"),
]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The only place for temporary files."""
    return tmp_path_factory.mktemp("stage")


@pytest.fixture(scope="module")
def facts(stage: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one demonstration, told to its end, wrote as JSON."""
    file = tmp_path_factory.mktemp("facts") / "out.json"
    arguments = ["demo", "--json", str(file), "--no-browser"]
    result = vigil(*arguments, under=["env", f"TMPDIR={stage}"], timeout_s=110)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    found: dict[str, Any] = json.loads(file.read_text())
    return found


@pytest.mark.slow
def test_every_release_ends_as_it_must_with_a_stable_code(facts: dict[str, Any]) -> None:
    told = [(one["release"], one["outcome"], one["code"]) for one in facts["releases"]]
    assert told == STORY
    assert all(one["reason"] for one in facts["releases"] if one["outcome"] != "committed")
    assert (facts["as_expected"], facts["problem"]) == (True, "")


@pytest.mark.slow
def test_the_new_model_takes_over_without_a_gap(facts: dict[str, Any]) -> None:
    gap_ms = facts["releases"][1]["swap_gap_ms"]
    assert 0 < gap_ms <= FRAME_MS + SWAP_TOLERANCE_MS, f"the gap was {gap_ms} ms"


@pytest.mark.slow
def test_the_facts_for_scripts_are_complete_and_plausible(facts: dict[str, Any]) -> None:
    assert facts["detections"] > facts["frames"] > 100
    assert facts["events"] > 0
    for stage in ("capture", "queue", "pre", "infer", "post", "publish"):
        times_ms = facts["stages_ms"][stage]
        assert 0 < times_ms["p50"] <= times_ms["p95"] <= times_ms["p99"]
    assert all(5 < facts["memory_pss_mb"][process] < 1000 for process in ("control", "worker"))
    # Measured on all 300 frames of the video: 0.61 and 0.74; here only on those that were shown.
    accuracy = {release: one["map50_95"] for release, one in facts["accuracy"].items()}
    assert accuracy["sorters/parts/1.0.0"] > 0.45
    assert accuracy["sorters/parts/2.0.0"] > 0.55


@pytest.mark.slow
def test_nothing_is_left_of_it(facts: dict[str, Any], stage: Path) -> None:
    assert list(stage.iterdir()) == []
    assert agents_below(stage) == []


@pytest.mark.parametrize(
    ("moment", "number"),
    [(0.4, signal.SIGINT), (1.5, signal.SIGTERM), (3.0, signal.SIGINT), (7.0, signal.SIGINT)],
)
def test_it_can_be_stopped_at_any_moment(
    tmp_path: Path, moment: float, number: signal.Signals
) -> None:
    stage = tmp_path / "stage"
    stage.mkdir()
    process = start(stage)
    time.sleep(moment)
    process.send_signal(number)
    output, _ = process.communicate(timeout=40)
    # What has not yet begun to heed a signal ends by it, as every program does.
    assert process.returncode in {1, 130, -number}, output
    assert b"Traceback" not in output or output.startswith(b"Fatal Python error: init_")  # not ours
    assert list(stage.iterdir()) == []
    until(lambda: not agents_below(stage), 30, "no process is left")


def test_two_impatient_signals_leave_nothing_behind_either(tmp_path: Path) -> None:
    process = start(tmp_path)
    until(lambda: devices_below(tmp_path), 30, "the device has started")
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
    output, _ = process.communicate(timeout=40)
    assert b"Traceback" not in output
    assert list(tmp_path.iterdir()) == []
    until(lambda: not agents_below(tmp_path), 30, "no process is left")


def test_killed_it_leaves_no_device_running(tmp_path: Path) -> None:
    process = start(tmp_path)
    until(lambda: devices_below(tmp_path), 30, "the device has started")
    process.kill()
    process.communicate(timeout=40)
    until(lambda: not agents_below(tmp_path), 60, "no process is left")


def start(stage: Path) -> subprocess.Popen[bytes]:
    # A shell that runs the tests in the background has them, and their children, ignore Ctrl-C.
    heeding = ["env", "--default-signal=INT"]
    return subprocess.Popen(
        [*heeding, sys.executable, "-m", "agent", "demo", "--no-browser"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "TMPDIR": str(stage)},
    )


def agents_below(stage: Path) -> list[int]:
    """Processes that were started with this folder for temporary files."""
    return [pid for pid, words in environments() if f"TMPDIR={stage}".encode() in words]


def devices_below(stage: Path) -> list[int]:
    """Those of them that are an agent, not the demonstration itself."""
    agents = []
    for pid in agents_below(stage):
        with contextlib.suppress(OSError):
            if b"run" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                agents.append(pid)
    return agents


def environments() -> Iterator[tuple[int, list[bytes]]]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            yield int(folder.name), (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
