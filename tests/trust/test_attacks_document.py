"""docs/attacks.md has every number once, each with a test that exists or among what is open."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs/attacks.md").read_text()
ROWS = re.findall(r"^\| (\d+) \| (.+) \|$", TEXT, re.MULTILINE)
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", TEXT)))
OPEN = {int(number) for number in re.findall(r"^- (\d+):", TEXT.split("## Open")[1], re.MULTILINE)}


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_every_test_that_is_named_exists(file: str, name: str) -> None:
    tree = ast.parse((ROOT / file).read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_number_is_there_once() -> None:
    assert [int(number) for number, _ in ROWS] == list(range(1, 63))


def test_every_attack_has_a_test_or_is_open() -> None:
    without = {int(number) for number, row in ROWS if "::test_" not in row}
    assert without == OPEN
