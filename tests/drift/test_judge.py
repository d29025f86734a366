"""When a camera counts as drifted: windows, hysteresis, day and night, what was found in the pictures."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from msgspec.structs import replace

from agent.drift.baseline import learn
from agent.drift.judge import DRIFTED, LEARNING, STEADY, USUAL_RULES, Judge
from agent.schema.drift import FrameFigures, PeriodBaseline
from tests.drift.conftest import NIGHT_BELOW
from tests.parts.drifting import stationary

Baseline = dict[str, PeriodBaseline]


def judge_of(baseline: Baseline) -> Judge:
    return Judge("belt", baseline, NIGHT_BELOW)


def show(judge: Judge, frames: Iterable[FrameFigures]) -> list[tuple[str, str]]:
    """Show frames; return each new state and cause."""
    return [(judge.report.state, judge.report.cause) for one in frames if judge.take(one)]


def blurred(frame: FrameFigures) -> FrameFigures:
    return replace(frame, sharpness=frame.sharpness / 50)


def test_before_the_first_whole_window_nothing_is_said(
    baseline: Baseline, day: list[FrameFigures]
) -> None:
    judge = judge_of(baseline)
    assert show(judge, day[:-1]) == []
    assert judge.report.state == LEARNING
    assert show(judge, day[-1:]) == [(STEADY, "")]


def test_a_disturbance_of_half_a_minute_is_not_reported(
    baseline: Baseline, day: list[FrameFigures]
) -> None:
    judge = judge_of(baseline)
    show(judge, day)
    disturbed = [*map(blurred, day[:30]), *day, *day]
    assert show(judge, disturbed) == []


def test_drift_is_reported_once_and_its_end_once(
    baseline: Baseline, day: list[FrameFigures]
) -> None:
    judge = judge_of(baseline)
    show(judge, day)
    assert show(judge, [blurred(one) for one in day * 5]) == [(DRIFTED, "blur")]
    assert judge.report.changes[0].figure == "sharpness"
    assert judge.report.changes[0].found < judge.report.changes[0].usual / 10
    assert show(judge, day * 5) == [(STEADY, "")]


def test_another_cause_is_named_once_it_lasts(baseline: Baseline, day: list[FrameFigures]) -> None:
    judge = judge_of(baseline)
    show(judge, day)
    show(judge, [blurred(one) for one in day * 2])
    bright = [replace(one, brightness=230.0) for one in day]
    assert show(judge, bright[:20]) == []
    assert show(judge, bright * 3) == [(DRIFTED, "over-exposure")]


def test_night_is_judged_by_the_pictures_of_the_night(
    baseline: Baseline, day: list[FrameFigures], night: list[FrameFigures]
) -> None:
    assert set(baseline) == {"day", "night"}
    judge = judge_of(baseline)
    assert show(judge, [*day * 2, *night * 3, *day * 2]) == [(STEADY, "")]


def test_night_without_a_baseline_of_it_is_darkness(
    day: list[FrameFigures], night: list[FrameFigures]
) -> None:
    judge = judge_of(learn(day, NIGHT_BELOW))
    show(judge, day)
    assert show(judge, night * 3) == [(DRIFTED, "darkness")]


def test_objects_of_a_class_that_was_rare_are_new_classes(
    baseline: Baseline, day: list[FrameFigures]
) -> None:
    judge = judge_of(baseline)
    show(judge, day)
    strange = [replace(one, labels=[7] * len(one.labels)) for one in day]
    assert show(judge, strange * 3) == [(DRIFTED, "new classes")]


def test_a_camera_that_shows_one_class_of_many_shows_nothing_new(
    baseline: Baseline, day: list[FrameFigures]
) -> None:
    broad = {
        name: replace(one, classes=[0.3, 0.01, *[0.069] * 10]) for name, one in baseline.items()
    }
    judge = judge_of(broad)
    assert show(judge, [replace(one, labels=[0] * len(one.labels)) for one in day * 4]) == [
        (STEADY, "")
    ]
    rare = [replace(one, labels=[1] * len(one.labels)) for one in day * 3]
    assert show(judge, rare) == [(DRIFTED, "new classes")]


def test_a_baseline_that_does_not_know_doubts_is_judged_without_them(
    baseline: Baseline, day: list[FrameFigures]
) -> None:
    doubted = [replace(one, doubts=one.doubts + 9) for one in day]
    judge = judge_of(baseline)
    assert show(judge, [*day, *doubted * 3])[-1] == (DRIFTED, "unknown objects")
    older = {
        name: replace(one, figures={k: v for k, v in one.figures.items() if k != "doubts"})
        for name, one in baseline.items()
    }
    assert show(judge_of(older), [*day, *doubted * 3]) == [(STEADY, "")]


def test_objects_found_with_little_confidence_are_a_collapse(
    baseline: Baseline, day: list[FrameFigures]
) -> None:
    judge = judge_of(baseline)
    show(judge, day)
    unsure = [replace(one, scores=[0.12 for _ in one.scores]) for one in day]
    assert show(judge, unsure * 3) == [(DRIFTED, "confidence collapse")]


def test_too_few_frames_make_no_baseline(day: list[FrameFigures]) -> None:
    assert learn(day[:19], NIGHT_BELOW) == {}
    with pytest.raises(ValueError, match="at least one period"):
        judge_of({})


def test_a_day_and_a_night_of_nothing_new_give_no_alarm(
    baseline: Baseline, day: list[FrameFigures], night: list[FrameFigures]
) -> None:
    judge = judge_of(baseline)
    assert show(judge, stationary(1.0, day, night)) == [(STEADY, "")]
    assert judge.report.judged > 86_400 / USUAL_RULES.step - 2 * USUAL_RULES.window
