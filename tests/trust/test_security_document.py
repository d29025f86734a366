"""docs/security.md names a test behind every promise, and every test that it names exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs/security.md").read_text()
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", TEXT)))
ROWS = [line for line in TEXT.split("## What is not promised")[0].splitlines() if line[:2] == "| "]
PROMISES = [row for row in ROWS if not row.startswith(("| promise |", "| --- |"))]


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_every_test_that_is_named_exists(file: str, name: str) -> None:
    tree = ast.parse((ROOT / file).read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_promise_names_a_test() -> None:
    assert len(PROMISES) > 25
    assert [row for row in PROMISES if "::test_" not in row] == []


def test_what_looks_like_a_test_is_read_as_one() -> None:
    assert len(re.findall(r"::test_", TEXT)) == len(
        re.findall(r"`tests/[\w/]+\.py::test_\w+`", TEXT)
    )
    assert re.findall(r"`(tests/[\w/.]+)`", TEXT.replace("::", "")) != []
