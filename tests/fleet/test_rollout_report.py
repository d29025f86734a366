"""The report of a roll-out: one page that needs nothing else and shows what the journal says."""

from __future__ import annotations

import re
from pathlib import Path

from agent.fleet.rollout_report import report
from agent.fleet.rollout_rules import Standing
from agent.fleet.rollout_store import Rollout, Row
from agent.fleet.rollout_tally import Step
from tests.fleet.page_world import begun
from tests.fleet.rollout_world import PATH, PLAN, SHA256, START_MS

EVIL = "<script>alert(1)</script>"
HALTED = Rollout("people-2", PLAN, PATH, SHA256, Standing.HALTED, EVIL, START_MS)


def row(device: str, wave: int, step: Step, took_s: int = 0, code: str = "") -> Row:
    sent_ms = 0 if step is Step.WAITING else START_MS + 1000
    settled_ms = sent_ms + took_s * 1000 if took_s else 0
    return Row(device, wave, step, "c", 0, 1, sent_ms, 0, settled_ms, code)


ROWS = [
    row("cam-1", 0, Step.COMMITTED, 20),
    row("cam-2", 1, Step.FAILED, 40, EVIL),
    row("cam-3", 1, Step.WORKING),
    row("cam-4", 1, Step.WAITING),
]


def test_the_page_shows_what_the_journal_says() -> None:
    page = report(HALTED, ROWS)
    assert "2 devices: half within 30.0 s, all within 40.0 s." in page
    assert "<b>halted</b>" in page
    for drawn in ("1 of 1", "0 of 3", "<title>1 failed</title>", "<title>1 waiting</title>"):
        assert drawn in page


def test_the_curves_reach_as_many_as_were_asked_ended_and_failed() -> None:
    lines = re.findall(r'<polyline points="[^"]*,([\d.]+)"', report(HALTED, ROWS))
    heights = [float(line) for line in lines]
    # Of four devices: three asked, one has it, one failed; the axis is 160 high above 170.
    assert heights == [170 - 160 * 3 / 4, 170 - 160 / 4, 170 - 160 / 4]


def test_what_devices_say_is_text_and_nothing_is_fetched() -> None:
    page = report(HALTED, ROWS)
    assert EVIL not in page
    assert "&lt;script&gt;" in page
    fetching = ("<script", "<link", "<img", "http://", "https://", "url(")
    assert [word for word in fetching if word in page] == []


def test_a_roll_out_that_has_just_begun_has_a_page_too(tmp_path: Path) -> None:
    store = begun(tmp_path / "fleet.db")
    page = report(store.rollout(PLAN.name), store.devices(PLAN.name))
    store.close()
    assert "1 of 1" in page
    assert report(HALTED, [row("cam-1", 0, Step.WAITING)]).count("<polyline") == 3
