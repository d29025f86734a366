"""docs/commands.md and the role table of docs/security.md say of every command what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agent.schema.commands import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs/commands.md").read_text()
SECURITY = (ROOT / "docs/security.md").read_text()


def names(cell: str) -> set[str]:
    return set(re.findall(r"`([a-z-]+)`", cell))


def test_every_command_is_described_and_nothing_else_is() -> None:
    table = GUIDE.split("## The commands")[1].split("##")[0]
    rows = [line.split(" | ")[0] for line in table.splitlines() if line.startswith("| `")]
    described = set().union(*map(names, rows))
    assert described == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_role_table_is_the_code_s(name: str) -> None:
    kind = COMMANDS[name]
    row = f"| `{name}` | {kind.role.value} | {kind.approvals} | {kind.does} |"
    assert row in SECURITY.splitlines()


def test_every_code_in_the_guide_is_one_that_the_code_raises() -> None:
    codes = set(re.findall(r"`([a-z]+\.[a-z_]+)`", GUIDE))
    assert len(codes) > 15
    files = {code for code in codes if code.endswith((".json", ".md"))}
    source = "\n".join(path.read_text() for path in (ROOT / "agent").rglob("*.py"))
    missing = [code for code in codes - files if not _raised(code, source)]
    assert missing == []


def _raised(code: str, source: str) -> bool:
    room, name = code.split(".")
    return f'"{code}"' in source or (room == "trust" and f'_refused("{name}"' in source)
