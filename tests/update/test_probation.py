"""The judgement on a new model is pure: health in, verdict out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.schema.config import ProbationConfig
from agent.schema.manifest import ProbationSpec
from agent.update.ports import Health
from agent.update.probation import Judgement, ProbationLimits, judge, limits_for

LIMITS = ProbationLimits(
    seconds=60, frames=100, max_error_rate=0.02, max_p95_ms=80, max_restarts=1, max_temperature_c=85
)
FINE = Health(frames=600, errors=2, p95_ms=40, restarts=0, seconds=61, temperature_c=60)


@pytest.mark.parametrize(
    ("change", "judgement", "code"),
    [
        ({}, Judgement.PASSED, ""),
        ({"temperature_c": None}, Judgement.PASSED, ""),
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
        ({"temperature_c": 86}, Judgement.FAILED, "probation.temperature"),
    ],
)
def test_verdicts(change: dict, judgement: Judgement, code: str) -> None:
    verdict = judge(replace(FINE, **change), LIMITS)
    assert (verdict.judgement, verdict.code) == (judgement, code)
    assert bool(verdict.reason) is (judgement is Judgement.FAILED)


def test_a_device_without_cameras_only_waits() -> None:
    limits = replace(LIMITS, frames=0)
    nothing = Health(0, 0, 0.0, 0, 60.0, None)
    assert judge(nothing, limits).judgement is Judgement.PASSED


def test_the_release_asks_first_then_the_operator_then_the_board() -> None:
    config = ProbationConfig(seconds=10, frames=5, max_error_rate=0.1)
    assert limits_for(config, ProbationSpec(), 99.0) == ProbationLimits(
        seconds=10, frames=5, max_error_rate=0.1, max_p95_ms=99.0
    )
    asked = limits_for(config, ProbationSpec(seconds=7, max_error_rate=0.0, max_p95_ms=3), 99.0)
    assert (asked.seconds, asked.max_error_rate, asked.max_p95_ms) == (7, 0.0, 3)
