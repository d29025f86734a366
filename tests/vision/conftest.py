"""Parts that several tests of this room ask for."""

import ctypes
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.vision.filming import write_film

NVIDIA = Path(__file__).with_name("nvidia")
_BOUND = ("tensorrt", "agent.vision.backends.tensorrt", "agent.vision.engine_build")


@pytest.fixture
def nvidia(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """NVIDIA's library, doubled, in this process; `TENSORRT_DOUBLE` in the environment is its script."""
    monkeypatch.setattr(ctypes, "CDLL", ctypes.CDLL)  # the double replaces it
    monkeypatch.syspath_prepend(str(NVIDIA))
    for name in _BOUND:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield importlib.import_module("tensorrt")
    for name in _BOUND:
        sys.modules.pop(name, None)


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film whose frames show their own number; see `filming.write_film`."""
    path = tmp_path_factory.mktemp("film") / "film.avi"
    write_film(path)
    return path
