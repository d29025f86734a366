"""The judgement on a new model is pure: health in, verdict out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.schema.manifest import ProbationSpec
from agent.schema.profile import Limits
from agent.schema.update_config import ProbationConfig
from agent.update.ports import Health, Strain
from agent.update.probation import (
    LASTING_S,
    Judgement,
    Probation,
    ProbationLimits,
    judge,
    limits_for,
)

ALLOWED = Strain(temperature_c=80, memory_pressure=20, worker_mb=500)
LIMITS = ProbationLimits(
    seconds=60, frames=100, max_error_rate=0.02, max_p95_ms=80, max_restarts=1, strain=ALLOWED
)
CALM = Strain(temperature_c=60, memory_pressure=0, worker_mb=200)
FINE = Health(frames=600, errors=2, p95_ms=40, restarts=0, seconds=61, strain=CALM)
FIGURES = {"temperature_c": "temperature", "memory_pressure": "memory", "worker_mb": "memory"}
amounts = st.none() | st.floats(0, 1000)
strains = st.builds(Strain, temperature_c=amounts, memory_pressure=amounts, worker_mb=amounts)
figures = st.sampled_from(sorted(FIGURES))


@pytest.mark.parametrize(
    ("change", "judgement", "code"),
    [
        ({}, Judgement.PASSED, ""),
        ({"strain": Strain()}, Judgement.PASSED, ""),
        ({"restarts": 1}, Judgement.PASSED, ""),
        ({"seconds": 59}, Judgement.CONTINUE, ""),
        ({"frames": 99}, Judgement.CONTINUE, ""),
        ({"frames": 99, "seconds": 180}, Judgement.FAILED, "probation.frames"),
        ({"frames": 0, "seconds": 0, "p95_ms": 0, "errors": 0}, Judgement.CONTINUE, ""),
        ({"restarts": 2, "seconds": 1}, Judgement.FAILED, "probation.restarts"),
        ({"errors": 3, "frames": 10, "seconds": 1}, Judgement.FAILED, "probation.errors"),
        ({"errors": 2, "frames": 10, "seconds": 1}, Judgement.CONTINUE, ""),
        ({"errors": 13}, Judgement.FAILED, "probation.errors"),
        ({"p95_ms": 81, "seconds": 1}, Judgement.FAILED, "probation.latency"),
        ({"p95_ms": 500, "frames": 20, "seconds": 1}, Judgement.CONTINUE, ""),
        ({"strain": Strain(temperature_c=81)}, Judgement.FAILED, "probation.temperature"),
        ({"strain": Strain(memory_pressure=21)}, Judgement.FAILED, "probation.memory"),
        ({"strain": Strain(worker_mb=501)}, Judgement.FAILED, "probation.memory"),
    ],
)
def test_verdicts(change: dict[str, Any], judgement: Judgement, code: str) -> None:
    verdict = judge(replace(FINE, **change), LIMITS, CALM)
    assert (verdict.judgement, verdict.code) == (judgement, code)
    assert bool(verdict.reason) is (judgement is Judgement.FAILED)


def test_a_device_without_cameras_only_waits() -> None:
    limits = replace(LIMITS, frames=0)
    nothing = Health(0, 0, 0.0, 0, 60.0)
    assert judge(nothing, limits).judgement is Judgement.PASSED


def test_the_release_asks_first_then_the_operator_then_the_board() -> None:
    config = ProbationConfig(seconds=10, frames=5, max_error_rate=0.1, max_memory_mb=300)
    board = Limits(latency_ms=99.0, temperature_c=75.0, memory_mb=900)
    given_all = limits_for(config, ProbationSpec(), board)
    assert given_all == ProbationLimits(
        seconds=10,
        frames=5,
        max_error_rate=0.1,
        max_p95_ms=99.0,
        strain=Strain(temperature_c=75.0, memory_pressure=20.0, worker_mb=300),
    )
    asked = limits_for(config, ProbationSpec(seconds=7, max_error_rate=0.0, max_p95_ms=3), board)
    assert (asked.seconds, asked.max_error_rate, asked.max_p95_ms) == (7, 0.0, 3)


# the board's part -------------------------------------------------------------------------------------


def strained(figure: str, value: float | None) -> Strain:
    return msgspec.structs.replace(CALM, **{figure: value})


@given(strains)
def test_a_board_that_bears_no_more_than_before_blames_no_release(before: Strain) -> None:
    assert judge(replace(FINE, strain=before), LIMITS, before).judgement is Judgement.PASSED


@given(strains)
def test_nothing_is_held_against_a_release_when_before_is_not_known(strain: Strain) -> None:
    assert judge(replace(FINE, strain=strain), LIMITS, None).judgement is Judgement.PASSED


@given(figures, st.floats(0, 1000), st.floats(0, 1000))
def test_it_fails_exactly_when_over_the_limit_and_worse_than_before(
    figure: str, was: float, found: float
) -> None:
    verdict = judge(replace(FINE, strain=strained(figure, found)), LIMITS, strained(figure, was))
    is_worse = found > was * (1 + LIMITS.margin)
    is_over = found > getattr(ALLOWED, figure)
    assert (verdict.code == f"probation.{FIGURES[figure]}") is (is_worse and is_over)


def looks_at(strains: list[Strain], limits: ProbationLimits = LIMITS) -> list[str]:
    """Look once a second; return every verdict's code."""
    probation = Probation(limits, before=CALM)
    return [
        probation.look(replace(FINE, strain=strain, seconds=float(second))).code
        for second, strain in enumerate(strains)
    ]


@given(figures, st.lists(st.booleans(), min_size=1, max_size=90))
def test_only_what_lasts_is_held_against_it(figure: str, over: list[bool]) -> None:
    strains = [strained(figure, 10_000.0 if one else 1.0) for one in over]
    lasting = int(LASTING_S) + 1
    lasts = [
        second >= lasting - 1 and all(over[second - lasting + 1 : second + 1])
        for second in range(len(over))
    ]
    assert [bool(code) for code in looks_at(strains)] == lasts


@given(figures, st.integers(0, 30))
def test_a_sensor_that_falls_silent_once_accuses_nobody(figure: str, silent: int) -> None:
    strains = [strained(figure, 10_000.0)] * 31
    strains[silent] = strained(figure, None)
    assert not any(looks_at(strains))


def test_a_probation_shorter_than_that_is_judged_as_a_whole() -> None:
    hot = [strained("temperature_c", 99.0)] * 11
    codes = looks_at(hot, replace(LIMITS, seconds=10))
    assert codes == [""] * 10 + ["probation.temperature"]
