"""How reports draw what is little: one day, nothing, and a narrow screen."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agent.web.report import Curve, heading, lines, note, page, table
from tests.console.browser import browser, missing

ENDS = ("first", "last")


def test_a_day_between_days_without_measurements_is_seen() -> None:
    drawn = lines("ms", [Curve("p50", [(1, None), (2, 3.0), (3, None)], "#0969da")], ENDS)
    assert re.findall(r'<circle [^>]*r="(\d)"', drawn) == ["4"]
    assert "<circle" not in lines("ms", [Curve("p50", [(1, 2.0), (2, 3.0)], "#0969da")], ENDS)


def test_a_chart_of_nothing_says_so() -> None:
    empty = Curve("mean", [(1, None), (2, None)], "#0969da")
    full = Curve("most", [(1, None), (2, 0.0)], "#bc4c00")
    assert "nothing was measured" in lines("°C", [empty], ENDS)
    assert "nothing was measured" not in lines("°C", [empty, full], ENDS)


@pytest.mark.skipif(bool(missing()), reason=missing() or "a browser is here")
def test_a_report_fits_a_phone(tmp_path: Path) -> None:
    long = table(("when", "what", ""), [("2026-11-30 13:47", "update", "models/" + "x" * 90)])
    file = tmp_path / "report.html"
    file.write_text(page("cam-1", [heading("Updates"), note("Days are UTC."), long]), "utf-8")
    with browser() as chromium:
        context = chromium.new_context(
            viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True
        )
        opened = context.new_page()
        opened.goto(file.as_uri())
        assert opened.evaluate("[innerWidth, document.documentElement.scrollWidth]") == [390, 390]
