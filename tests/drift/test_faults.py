"""Faults injected into the bundled recording: noticed, soon, and called by their name."""

from __future__ import annotations

import pytest

from agent.drift.baseline import learn
from agent.drift.causes import CAUSES
from agent.drift.judge import DRIFTED, STEADY, Judge
from agent.schema.drift import FrameFigures
from agent.vision.detector import Detector
from tests.drift.conftest import NIGHT_BELOW
from tests.parts.drifting import (
    FAULTS,
    MODEL_FAULTS,
    PARTS,
    Fault,
    ModelFault,
    Picture,
    look,
    unspoiled,
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.cause)
def test_a_fault_is_noticed_named_and_over_when_it_is_mended(
    fault: Fault, detector: Detector, shown: list[Picture], day: list[FrameFigures]
) -> None:
    judge = Judge("belt", learn(day, NIGHT_BELOW), NIGHT_BELOW)
    for frame in day * 2:
        judge.take(frame)
    assert judge.report.state == STEADY
    spoiled = look(detector, shown, fault.spoil)
    news = [second for second, frame in enumerate(spoiled * 2, 1) if judge.take(frame)]
    assert judge.report.state == DRIFTED
    assert judge.report.cause == fault.cause
    assert news[0] <= 120  # six judgements at most
    for frame in day * 4:
        judge.take(frame)
    assert judge.report.state == STEADY
    assert judge.report.cause == ""


@pytest.mark.parametrize("fault", MODEL_FAULTS, ids=lambda fault: fault.name)
def test_a_model_that_goes_wrong_is_noticed_where_its_results_show_it(
    fault: ModelFault, shown: list[Picture], day: list[FrameFigures]
) -> None:
    judge = Judge("belt", learn(day, NIGHT_BELOW), NIGHT_BELOW)
    for frame in day * 2:
        judge.take(frame)
    for frame in look(fault.spoil(PARTS, shown), shown, unspoiled) * 2:
        judge.take(frame)
    assert judge.report.cause == fault.cause


def test_every_fault_has_a_cause_that_the_table_knows() -> None:
    assert {fault.cause for fault in FAULTS} <= set(CAUSES)
