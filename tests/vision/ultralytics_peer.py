"""Ultralytics in an environment of its own, as the judge of what Vigil finds."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "comparison" / "ultralytics_side.py"
Row = tuple[int, float, float, float, float, float]


def python_with_ultralytics() -> str:
    """The interpreter in VIGIL_BENCH_PYTHON, else this one; skips where neither has ultralytics."""
    python = os.environ.get("VIGIL_BENCH_PYTHON", sys.executable)
    probe = "import importlib.util as u; exit(not (u.find_spec('ultralytics') and u.find_spec('onnxruntime')))"
    if subprocess.run([python, "-c", probe], check=False).returncode:
        pytest.skip("no ultralytics: name a Python that has it in VIGIL_BENCH_PYTHON")
    return python


def predictions(
    model: Path, size: int, pictures: list[Path], confidence: float, iou: float
) -> Iterator[list[Row]]:
    """What `predict` finds in each picture: label, score and corners, best first."""
    settings: dict[str, object] = {"model": str(model), "source": None, "threads": 2, "size": size}
    settings |= {"confidence": confidence, "iou": iou}
    process = subprocess.Popen(
        [python_with_ultralytics(), str(_SCRIPT), json.dumps(settings)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    requests = "".join(json.dumps({"image": str(path)}) + "\n" for path in pictures)
    answers, complaints = process.communicate(requests, timeout=100)
    assert process.returncode == 0, complaints
    for line in answers.splitlines():
        yield [(int(row[0]), *row[1:]) for row in json.loads(line)]
