"""A runtime that would keep a record of what it runs, for its makers, is kept from it."""

import os
import subprocess
import sys
from pathlib import Path

LOAD = """
from pathlib import Path
from agent.demo.releases import BUNDLED
from agent.vision.detector import load_detector
for name in ("parts-1.onnx", "parts-1.tflite"):
    load_detector(BUNDLED / name)
"""


def test_running_a_model_writes_nothing_to_the_home_or_temporary_folder(tmp_path: Path) -> None:
    places = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME"), str(tmp_path))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ORT_")}
    command = [sys.executable, "-c", LOAD]
    subprocess.run(command, env={**environment, **places}, check=True, timeout=60)
    assert list(tmp_path.rglob("*")) == []
