"""The gate finds what it is there to find."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

GATE = Path(__file__).resolve().parents[1] / "scripts" / "size_gate.py"


def gate(root: Path) -> tuple[int, str]:
    run = subprocess.run([sys.executable, GATE, root], capture_output=True, text=True, check=False)
    assert not run.stderr
    return run.returncode, run.stdout


def long_functions(short: int, long: int) -> str:
    lines = "\n".join(f"    x = {n}" for n in range(41))
    brief = "".join(f"def a{n}():\n    pass\n" for n in range(short))
    return brief + "".join(f"def b{n}():\n{lines}\n" for n in range(long))


@pytest.mark.parametrize(
    ("path", "text", "complaint"),
    [
        ("agent/long.py", "x = 1\n" * 301, "agent/long.py: 301 lines, at most 300"),
        ("agent/utils.py", "", "the name 'utils' says nothing"),
        ("agent/core/x.py", "", "the name 'core' says nothing"),
        (
            "agent/x.py",
            "try:\n    f()\nexcept Exception:\n    pass\n",
            "agent/x.py:3: catches every",
        ),
        ("agent/x.py", "try:\n    f()\nexcept:\n    pass\n", "agent/x.py:3: catches every"),
        (
            "agent/x.py",
            "try:\n    f()\nexcept (OSError, BaseException):\n    pass\n",
            "catches every",
        ),
        ("agent/x.py", long_functions(18, 1), "1 of 19 functions exceed 40 lines"),
        ("agent/x.py", "def f():\n" + "    x = 1\n" * 11, "the median function has 11 lines"),
        ("README.md", "see https://pypi" + ".org/x", "README.md:1: names a package registry"),
        ("docs/x.md", "\nunder /root" + "/.pyenv", "docs/x.md:2: names a path of one machine"),
        ("agent/x.py", "# SPDX-" + "License-Identifier: X", "carries a licence"),
    ],
)
def test_an_offender_is_named(tmp_path: Path, path: str, text: str, complaint: str) -> None:
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_text(text)
    status, output = gate(tmp_path)
    assert status == 1
    assert complaint in output


def test_a_good_tree_passes(tmp_path: Path) -> None:
    folder = tmp_path / "agent"
    folder.mkdir()
    (folder / "x.py").write_text(long_functions(19, 1))
    (folder / "y.py").write_text("try:\n    f()\nexcept BaseException:\n    g()\n    raise\n")
    (tmp_path / "LICENSE").write_text("Licensed under" + " the Apache License")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\xff")
    assert gate(tmp_path) == (0, "")
