"""What is published holds what it needs on a device."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ["requirements.lock", "requirements-dev.lock"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as built:
        return set(built.namelist())


def test_the_wheel_carries_every_board_profile(wheel: set[str]) -> None:
    profiles = {f"agent/device_profiles/{path.name}" for path in ROOT.glob("device_profiles/*")}
    assert profiles
    assert profiles <= wheel


def test_the_wheel_carries_everything_that_lies_in_the_package(wheel: set[str]) -> None:
    inside = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "agent").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert inside - wheel == set()


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_has_hashes_and_names_no_host(lock: str) -> None:
    lines = (ROOT / lock).read_text().splitlines()
    pins = [number for number, line in enumerate(lines) if line[:1].isalnum()]
    assert pins
    assert all("==" in lines[n] and "--hash=sha256:" in lines[n + 1] for n in pins)
    assert not [line for line in lines if "://" in line or line.startswith("-")]


def test_the_locks_agree() -> None:
    small, large = (pins(ROOT / lock) for lock in LOCKS)
    assert small.items() <= large.items()


def pins(lock: Path) -> dict[str, set[str]]:
    """Return the versions of each package, there may be one for each Python."""
    found: dict[str, set[str]] = {}
    for line in lock.read_text().splitlines():
        if line[:1].isalnum():
            pin = Requirement(line.rstrip(" \\"))
            found.setdefault(pin.name, set()).add(str(pin.specifier))
    return found
