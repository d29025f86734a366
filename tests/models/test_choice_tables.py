"""docs/profiles.md shows what would really be chosen."""

from __future__ import annotations

import os
from pathlib import Path

from tests.parts.choice_table import choice_tables

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "profiles.md"
BEGIN, END = "<!-- choice tables: begin -->\n", "<!-- choice tables: end -->\n"


def test_the_choice_tables_of_the_documentation_are_true(tmp_path: Path) -> None:
    head, _, rest = DOCUMENT.read_text().partition(BEGIN)
    _, _, tail = rest.partition(END)
    expected = f"{head}{BEGIN}\n{choice_tables(tmp_path)}\n{END}{tail}"
    if os.environ.get("VIGIL_WRITE_DOCS"):
        DOCUMENT.write_text(expected)
    assert DOCUMENT.read_text() == expected, "run this test once with VIGIL_WRITE_DOCS=1"
