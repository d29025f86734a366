"""The very decisions of the device on boards that get hot, in ambient temperatures they cannot bear at full speed."""

from __future__ import annotations

import pytest

from agent.governor.situation import Limits
from tests.parts.thermal import (
    ORIN_NANO,
    PI4,
    PI5,
    Day,
    Device,
    Sample,
    ladder,
    most_per_hour,
    moves,
    wave,
)

HOURS = 4
HOT_S, COOL_S = 1800.0, 7200.0
# Milliseconds by input size: the profiles' priors, scaled by pixels; those of the Raspberry Pi 4 are an assumption.
DEVICES = {
    "pi4": Device(
        PI4,
        ladder({320: 110.0, 224: 54.0}, full_fps=10, least_fps=4),
        Limits(latency_ms=250.0, temperature_c=75.0),
        Day(wave(20.0, 34.0, rise_s=HOT_S, fall_s=COOL_S)),
        begin_c=60.0,
    ),
    "pi5": Device(
        PI5,
        ladder({320: 42.0, 224: 20.6}, full_fps=15, least_fps=10),
        Limits(latency_ms=100.0, temperature_c=75.0),
        Day(wave(10.0, 38.0, rise_s=HOT_S, fall_s=COOL_S)),
        begin_c=60.0,
    ),
    "orin-nano": Device(
        ORIN_NANO,
        ladder({1280: 19.6, 640: 4.9}, full_fps=30, least_fps=20),
        Limits(latency_ms=50.0, temperature_c=85.0),
        Day(wave(25.0, 60.0, rise_s=HOT_S, fall_s=COOL_S)),
        begin_c=60.0,
    ),
}


@pytest.fixture(scope="module", params=DEVICES)
def trace(request: pytest.FixtureRequest) -> list[Sample]:
    return list(DEVICES[request.param].live(HOURS * 3600))


def test_the_heat_is_more_than_the_top_rung_bears(trace: list[Sample]) -> None:
    assert max(sample.rung for sample in trace) > 0


def test_the_temperature_stays_under_the_cap(
    trace: list[Sample], request: pytest.FixtureRequest
) -> None:
    cap_c = DEVICES[request.node.callspec.params["trace"]].limits.temperature_c
    assert max(sample.temperature_c for sample in trace) < cap_c + 0.3


def test_p95_stays_under_the_limit(trace: list[Sample], request: pytest.FixtureRequest) -> None:
    limit_ms = DEVICES[request.node.callspec.params["trace"]].limits.latency_ms
    late = sum(sample.p95_ms > limit_ms for sample in trace)
    assert late / len(trace) < 0.01


def test_there_are_few_moves(trace: list[Sample]) -> None:
    assert most_per_hour(moves(trace)) <= 8


def test_the_top_rung_is_regained_once_it_is_cool(trace: list[Sample]) -> None:
    assert trace[-1].rung == 0


def test_it_is_not_far_below_what_the_heat_allows(trace: list[Sample]) -> None:
    hot = [sample for sample in trace if HOT_S + 1800 < sample.at_s < COOL_S]
    assert max(sample.temperature_c for sample in hot) > 60
