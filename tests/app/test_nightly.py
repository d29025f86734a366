"""When the golden set is run again by night, and what becomes of what was found."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from agent.app.nightly import NightlyProof
from agent.errors import CommandError, ModelError, VigilError
from agent.trust.ledger import Ledger


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path / "commands.db")
    yield made
    made.close()


class Night:
    """A proof whose clock and outcome the test sets; `None` passes."""

    def __init__(self, ledger: Ledger, hour: int | None = 3) -> None:
        self.now = datetime(2026, 5, 1, 3, 10)  # noqa: DTZ001 - the device's own local time
        self.outcome: VigilError | None = None
        self.runs = 0
        self.proof = NightlyProof(hour, self._prove, ledger, lambda: self.now)

    def _prove(self) -> str:
        self.runs += 1
        if self.outcome is not None:
            raise self.outcome
        return "parts 1 passes its golden set"


def test_it_is_proven_once_in_its_hour_of_every_day(ledger: Ledger) -> None:
    night = Night(ledger)
    for day, hour, minute in ((1, 2, 59), (1, 3, 0), (1, 3, 30), (1, 4, 0), (2, 3, 0)):
        night.now = datetime(2026, 5, day, hour, minute)  # noqa: DTZ001
        night.proof.step()
    assert night.runs == 2
    assert [row.text for row in ledger.rows(9)] == ["parts 1 passes its golden set"] * 2


def test_what_is_wrong_is_kept_until_a_night_goes_well(ledger: Ledger) -> None:
    night = Night(ledger)
    text = "recall 0.1 below 0.9; the first stage that differs is normalisation: …"
    night.outcome = ModelError(text, code="model.golden")
    night.proof.step()
    assert night.proof.problem == text
    assert ledger.rows(1)[0].text == text
    night.outcome, night.now = None, datetime(2026, 5, 2, 3, 0)  # noqa: DTZ001
    night.proof.step()
    assert night.proof.problem == ""


def test_an_update_under_way_is_not_disturbed(ledger: Ledger) -> None:
    night = Night(ledger)
    night.outcome = CommandError("an update is under way", code="command.busy")
    night.proof.step()
    assert (night.proof.problem, list(ledger.rows(9))) == ("", [])
    night.outcome = None
    night.proof.step()
    assert night.runs == 2


def test_without_an_hour_it_never_runs(ledger: Ledger) -> None:
    night = Night(ledger, hour=None)
    night.proof.step()
    assert night.runs == 0
