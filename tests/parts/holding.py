"""Workers that are held where they would take a model: the middle of a trial, for as long as a test wants."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Python runs it at its start. By this import a worker has been confined, so that it dies with its agent.
_SITECUSTOMIZE = """\
import os, signal, sys
def stop(event, arguments):
    if event == "import" and arguments[0] == "agent.vision.worker" and os.path.exists({file!r}):
        os.kill(os.getpid(), signal.SIGSTOP)
sys.addaudithook(stop)
"""


@pytest.fixture
def hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that a test may make: while it is there, every new worker of an agent that was started meanwhile stops itself."""
    file = tmp_path / "hold"
    (tmp_path / "sitecustomize.py").write_text(_SITECUSTOMIZE.format(file=str(file)))
    paths = filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    return file
