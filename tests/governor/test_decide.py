"""Promises of the decision, for whatever the sensors say."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from agent.governor.decide import refused, step
from agent.governor.situation import Cause, Limits, Memory, Move, Pace, Situation
from tests.parts.thermal import PI5, Day, Device, ladder, most_per_hour, moves

LADDER = ladder({640: 60.0, 320: 15.0}, full_fps=15, least_fps=5)
TOP, LAST = 0, len(LADDER) - 1
LIMITS = Limits(latency_ms=100.0, temperature_c=75.0)
PACE = Pace()
QUIET = Situation(at_s=0.0, p95_ms=20.0, work_ms=20.0, queue_ms=0.0, temperature_c=50.0)
CALM = Day(ambient_c=lambda _now: 0.0)

# Whole hours are lived through in each example: too long to look for the smallest one.
LIVED = settings(
    max_examples=15, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate)
)

readings = st.one_of(st.none(), st.floats(0.0, 1e4))
situations = st.builds(
    Situation,
    at_s=st.floats(0.5, 120.0),  # seconds since the one before
    p95_ms=readings,
    work_ms=readings,
    queue_ms=readings,
    temperature_c=st.one_of(st.none(), st.floats(-40.0, 150.0)),
    slope_c_min=st.one_of(st.none(), st.floats(-60.0, 60.0)),
    throttled=st.sampled_from([(), (), ("throttled",)]),
    memory_pressure=st.one_of(st.none(), st.floats(0.0, 100.0)),
    power_mode=st.sampled_from(["", "15W"]),
    held=st.sampled_from(["", "", "", "an update is on probation"]),
)


def run(course: Iterable[Situation], memory: Memory) -> list[tuple[float, Move]]:
    now, made = 1e6, []
    for each in course:
        now += each.at_s
        decision = step(LADDER, replace(each, at_s=now), memory, LIMITS)
        assert (decision.move is None) == (decision.memory.rung == memory.rung)
        assert TOP <= decision.memory.rung <= LAST
        assert decision.why
        memory = decision.memory
        if decision.move:
            made.append((now, decision.move))
    return made


@given(st.lists(situations, max_size=80), st.integers(TOP, LAST))
def test_no_two_moves_are_closer_than_the_dwell_and_no_climb_comes_soon(
    course: list[Situation], rung: int
) -> None:
    made = run(course, Memory(rung))
    for (before_s, _), (at_s, move) in itertools.pairwise(made):
        assert at_s - before_s >= PACE.dwell_s
        assert move.target > move.origin or at_s - before_s >= PACE.climb_s


@given(st.lists(situations, max_size=80), st.integers(TOP, LAST))
def test_a_climb_is_one_rung_and_every_move_has_a_reason(
    course: list[Situation], rung: int
) -> None:
    for _, move in run(course, Memory(rung)):
        assert move.target > move.origin or move.target == move.origin - 1
        assert move.reason
        assert (move.cause is Cause.RECOVERED) == (move.target < move.origin)


@given(st.lists(situations.map(lambda one: replace(one, held="probation")), max_size=20))
def test_nothing_moves_while_a_release_is_judged(course: list[Situation]) -> None:
    assert run(course, Memory()) == []


@given(st.floats(0.2, 30.0))
@LIVED
def test_a_limit_is_kept_again_one_dwell_after_it_was_broken(slowness: float) -> None:
    day = replace(CALM, slowness=lambda now: slowness if now >= 100 else 1.0)
    trace = list(Device(PI5, LADDER, LIMITS, day).live(140))
    settled = trace[-1]
    quickest = min(rung.cost_ms for rung in LADDER) * slowness
    assert settled.p95_ms <= LIMITS.latency_ms or quickest > LIMITS.latency_ms


@given(st.floats(1.0, 6.0), st.floats(-10.0, 45.0))
@example(1.0, 23.027291020539984)  # falls by two rungs, again and again
@example(1.0, 33.19765757620357)  # heat of the rung before
@LIVED
def test_what_stays_as_it_is_causes_few_moves(slowness: float, ambient_c: float) -> None:
    day = Day(lambda _now: ambient_c, lambda _now: slowness)
    trace = list(Device(PI5, LADDER, LIMITS, day).live(2 * 3600))
    late = [(at_s, move) for at_s, move in moves(trace) if at_s > 3600]
    assert most_per_hour(late) <= 8


@given(st.lists(st.tuples(st.floats(20.0, 900.0), st.floats(1.0, 12.0)), min_size=1, max_size=6))
@LIVED
def test_the_top_rung_is_regained_after_any_trouble(troubles: list[tuple[float, float]]) -> None:
    def slowness(now: float) -> float:
        for seconds, factor in troubles:
            now -= seconds
            if now < 0:
                return factor
        return 1.0

    over_s = sum(seconds for seconds, _ in troubles)
    patience_s = PACE.longest_wait_s + len(LADDER) * (PACE.climb_s + PACE.dwell_s)
    device = Device(PI5, LADDER, LIMITS, replace(CALM, slowness=slowness))
    assert list(device.live(int(over_s + patience_s)))[-1].rung == TOP


def test_a_square_wave_of_trouble_is_answered_ever_more_slowly() -> None:
    """The worst there is for an eager governor: trouble as soon as it has climbed."""
    day = replace(CALM, slowness=lambda now: 4.0 if now % 120 < 30 else 1.0)
    made = moves(Device(PI5, LADDER, LIMITS, day).live(4 * 3600))
    first, last = (
        sum(begin <= at_s < begin + 3600 for at_s, _ in made) for begin in (0.0, 3 * 3600.0)
    )
    assert first <= 24
    assert last <= 12


CASES = {
    "slow frames": (replace(QUIET, p95_ms=150.0, work_ms=150.0), Cause.LATENCY),
    "frames that wait": (replace(QUIET, p95_ms=120.0, work_ms=70.0, queue_ms=70.0), Cause.QUEUE),
    "heat": (replace(QUIET, temperature_c=75.0), Cause.HEAT),
    "heat to come": (replace(QUIET, temperature_c=74.0, slope_c_min=2.5), Cause.HEAT),
    "throttling": (replace(QUIET, throttled=("under-voltage",)), Cause.THROTTLED),
}


@pytest.mark.parametrize("case", CASES)
def test_it_steps_down_for(case: str) -> None:
    situation, cause = CASES[case]
    decision = step(LADDER, situation, Memory(), LIMITS)
    assert decision.move is not None
    assert decision.move.cause is cause
    assert decision.move.target > TOP


def test_memory_pressure_asks_for_a_smaller_variant() -> None:
    small = tuple(
        replace(rung, memory_mb=100 if rung.variant == "n-320" else 200) for rung in LADDER
    )
    strained = replace(QUIET, memory_pressure=25.0)
    decision = step(small, strained, Memory(), LIMITS)
    assert decision.move is not None
    assert small[decision.move.target].variant == "n-320"
    assert step(LADDER, strained, Memory(), LIMITS).move is None, "none needs less"


def test_slow_frames_are_answered_with_a_quicker_variant_not_with_fewer_frames() -> None:
    decision = step(LADDER, CASES["slow frames"][0], Memory(), LIMITS)
    assert decision.move is not None
    assert LADDER[decision.move.target].variant == "n-320"
    assert "150 ms" in decision.move.reason
    assert decision.move.figures["p95_ms"] == 150.0


def test_a_board_that_cools_already_is_left_alone() -> None:
    cooling = replace(QUIET, temperature_c=76.0, slope_c_min=-3.0)
    assert step(LADDER, cooling, Memory(), LIMITS).move is None


def test_without_any_sensor_nothing_moves() -> None:
    for rung in range(len(LADDER)):
        assert step(LADDER, Situation(at_s=1e6), Memory(rung), LIMITS).move is None


def test_a_pin_is_carried_out_at_once_and_holds_against_heat() -> None:
    wish = replace(QUIET, temperature_c=90.0, pinned=LADDER[2].name)
    decision = step(LADDER, wish, Memory(since_s=-1.0), LIMITS)
    assert decision.move is not None
    assert (decision.move.target, decision.move.cause) == (2, Cause.PINNED)
    again = step(LADDER, replace(wish, at_s=1e4), decision.memory, LIMITS)
    assert again.move is None


def test_another_power_mode_ends_the_wait_for_a_rung_that_did_not_hold() -> None:
    failed = Memory(rung=1, since_s=0.0).waiting(LADDER[0].name, at_s=0.0, length_s=1800.0)
    later = replace(QUIET, at_s=100.0)
    assert step(LADDER, later, failed, LIMITS).move is None
    assert step(LADDER, replace(later, power_mode="25W"), failed, LIMITS).move is not None


def test_every_rung_waits_on_its_own() -> None:
    """The second of two falls does not shorten the wait of the first."""
    fallen = Memory(rung=2, since_s=0.0)
    fallen = fallen.waiting(LADDER[0].name, at_s=0.0, length_s=1800.0).waiting(
        LADDER[1].name, at_s=0.0, length_s=60.0
    )
    once = step(LADDER, replace(QUIET, at_s=100.0), fallen, LIMITS)
    assert once.memory.rung == 1
    assert step(LADDER, replace(QUIET, at_s=1700.0), once.memory, LIMITS).move is None
    assert step(LADDER, replace(QUIET, at_s=1800.0), once.memory, LIMITS).memory.rung == 0


def test_a_rung_that_a_fall_passes_over_waits_anew() -> None:
    before = Memory(rung=1, since_s=0.0).waiting(LADDER[2].name, at_s=0.0, length_s=600.0)
    fallen = step(LADDER, replace(CASES["slow frames"][0], at_s=500.0), before, LIMITS).memory
    assert fallen.rung == 3
    assert step(LADDER, replace(QUIET, at_s=1000.0), fallen, LIMITS).move is None
    assert step(LADDER, replace(QUIET, at_s=1100.0), fallen, LIMITS).memory.rung == 2


def test_a_move_that_was_refused_is_not_tried_again_soon() -> None:
    before = Memory(rung=1, since_s=0.0)
    climb = step(LADDER, replace(QUIET, at_s=100.0), before, LIMITS)
    assert climb.move is not None
    after = refused(LADDER, before, climb.move, 100.0, PACE)
    assert after.rung == 1
    assert step(LADDER, replace(QUIET, at_s=130.0), after, LIMITS).move is None
    assert step(LADDER, replace(QUIET, at_s=170.0), after, LIMITS).move is not None
