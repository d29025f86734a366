"""Weights, labelled images and video that are too large or not free enough to be committed."""

import os
from pathlib import Path

import pytest

_REPOSITORY = Path(__file__).resolve().parents[2]
ASSETS = Path(os.environ.get("VIGIL_TEST_ASSETS", _REPOSITORY.parent / "shared" / "assets"))

needs_assets = pytest.mark.skipif(
    not ASSETS.is_dir(),
    reason="no test material: put it in ../shared/assets or name its folder in VIGIL_TEST_ASSETS",
)


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder of test material; the test skips where there is none."""
    if not ASSETS.is_dir():
        pytest.skip(str(needs_assets.kwargs["reason"]))
    return ASSETS


def asset(name: str) -> Path:
    """One file of the test material, for parametrised tests; skips where it is absent."""
    path = ASSETS / name
    if not path.exists():
        pytest.skip(f"no test material {name}")
    return path
