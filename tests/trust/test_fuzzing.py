"""The fuzzer of the sealed container runs, counts, and notices what it is there to notice."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HARNESS = ROOT / "scripts/fuzzing/sealed.py"

# The reader with a fault: it lets a Python error escape when it meets an unknown cipher.
PLANTED = """
import runpy, sys
from agent.trust import sealed
honest = sealed.open_sealed
def faulty(blob, dek, release_id):
    if len(blob) > 7 and blob[7] == 77:
        raise KeyError("cipher")
    return honest(blob, dek, release_id)
sealed.open_sealed = faulty
sys.argv = [sys.argv[1], "20", "3"]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def fuzz(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def test_a_second_of_fuzzing_finds_nothing_and_counts(tmp_path: Path) -> None:
    run = fuzz(tmp_path, str(HARNESS), "1", "7")
    assert run.returncode == 0, run.stdout + run.stderr
    assert re.search(r"inputs=\d{3,}|#\d{3,}\s+DONE", run.stdout + run.stderr)
    assert not (tmp_path / "fuzz-crash.bin").exists()


def test_a_planted_fault_is_found_and_its_input_kept(tmp_path: Path) -> None:
    run = fuzz(tmp_path, "-c", PLANTED, str(HARNESS))
    assert run.returncode != 0
    assert "CRASH" in run.stdout
    assert (tmp_path / "fuzz-crash.bin").read_bytes()[7] == 77
