"""What a roll-out decides: tables of cases, and promises that hold whatever devices do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import CommandError, ConfigError
from agent.fleet.rollout_plan import Plan, read_plan, share_of, waves_of
from agent.fleet.rollout_rules import (
    MOVES,
    Decision,
    Standing,
    Verdict,
    decide,
    decide_next,
    moved,
)
from agent.fleet.rollout_simulation import Assumptions, simulate
from agent.fleet.rollout_tally import Progress, Step, Tally

TEXT = """
schema: 1
name: people-2
release: gate/people/2.0
waves: [{percent: 5}, {percent: 25}, {percent: 100}]
success_percent: 90
max_failed_percent: 10
soak_s: 60
answer_within_s: 300
"""
PLAN = read_plan(TEXT, "plan.yaml")
MINUTE = 60_000
FLEET = {f"cam-{n}": frozenset({"canary"} if n < 2 else {"rest"}) for n in range(40)}


def device(wave: int, step: str = "waiting", at_ms: int = 0, **more: Any) -> Progress:
    return Progress(f"d{wave}", wave, Step(step), sent_ms=at_ms, settled_ms=at_ms, **more)


@pytest.mark.parametrize(
    ("devices", "now_ms", "verdict", "sent", "reason"),
    [
        ([device(0), device(1)], 0, "send", ["d0"], "wave 1 is open"),
        ([device(0, "asked"), device(1)], 0, "wait", [], "0 of the 1 that must succeed"),
        ([device(0, "asked", unsure=True), device(1)], 0, "send", ["d0"], "wave 1"),
        ([device(0, "working", unsure=True), device(1)], 0, "wait", [], "0 of the 1"),
        ([device(0, "committed"), device(1)], 1000, "wait", [], "soaks for another 59 s"),
        # It was written down after the look at the clock.
        ([device(0, "committed", 1000), device(1)], 0, "wait", [], "soaks for another 60 s"),
        ([device(0, "committed"), device(1)], MINUTE, "send", ["d1"], "wave 2"),
        ([device(0, "failed"), device(1)], 0, "halt", [], "1 of 1 failed"),
        ([device(0, "asked"), device(1)], 301_000, "halt", [], "1 of 1 failed"),
        ([device(0, online=False), device(1)], 0, "wait", [], "offline: 1 device"),
        ([device(0, valid=False), device(1)], 0, "wait", [], "sign and `rollout add`"),
        # A wave that reaches nobody new holds up nobody.
        ([device(1), device(2)], 0, "send", ["d1"], "wave 2"),
        ([device(0, "committed"), device(1, "committed")], 0, "done", [], "2 of 2"),
    ],
)
def test_what_is_done_next(
    devices: list[Progress], now_ms: int, verdict: str, sent: list[str], reason: str
) -> None:
    decision = decide(PLAN, devices, now_ms)
    assert (decision.verdict.value, list(decision.send)) == (verdict, sent)
    assert reason in decision.reason


def test_a_wave_without_a_soak_is_followed_at_once() -> None:
    plan = read_plan(TEXT.replace("soak_s: 60", "soak_s: 0"), "p")
    assert decide(plan, [device(0, "committed", 1000), device(1)], 999).send == ("d1",)


def test_devices_are_asked_in_the_window_only() -> None:
    plan = read_plan(f"{TEXT}window: {{from_hour: 22, until_hour: 5}}\n", "p")
    hours = [h for h in range(24) if decide(plan, [device(0)], h * 60 * MINUTE).send]
    assert hours == [0, 1, 2, 3, 4, 22, 23]
    plan = read_plan(f"{TEXT}window: {{from_hour: 9, until_hour: 11}}\n", "p")
    hours = [h for h in range(24) if decide(plan, [device(0)], h * 60 * MINUTE).send]
    assert hours == [9, 10]


def test_a_device_that_comes_late_is_asked_though_later_waves_run() -> None:
    plan = read_plan(TEXT.replace("success_percent: 90", "success_percent: 50"), "p")
    devices = [device(0, "committed"), replace(device(0, online=False), device="late"), device(1)]
    assert decide(plan, devices, MINUTE).send == ("d1",)
    devices[1] = replace(devices[1], online=True)
    assert decide(plan, devices, MINUTE).send == ("late", "d1")


@pytest.mark.parametrize("standing", list(Standing))
@pytest.mark.parametrize("order", ["pause", "resume", "abort"])
def test_what_a_person_may_order(standing: Standing, order: str) -> None:
    if (standing, order) in MOVES:
        assert moved(standing, order) is not standing
    else:
        with pytest.raises(CommandError, match=f"{standing.value} cannot {order}") as refused:
            moved(standing, order)
        assert ("or abort" in refused.value.hint) == (
            standing in {Standing.RUNNING, Standing.PAUSED}
        )


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        ("schema: 1", "schema: 2", r"\$\.schema: expected 1, found 2"),
        ("{percent: 100}", "{percent: 90}", "last wave with percent: 100"),
        ("{percent: 25}", "{percent: 5}", "rising percents"),
        ("{percent: 25}", "{percent: 25, group: a}", r"\$\.waves\[1\]: expected either"),
        ("{percent: 25}", "{}", r"\$\.waves\[1\]: expected either"),
        ("{percent: 25}", "{percent: 250}", r"\$\.waves\[1\]\.percent"),
        ("[{percent: 5}, {percent: 25}, {percent: 100}]", "[]", "at least one wave"),
        ("success_percent: 90", "success_percent: 95", "at most 100, found 105"),
        ("soak_s: 60", "soak_s: -1", r"\$\.soak_s"),
        ("soak_s: 60", "soak: 60", "unknown field"),
        ("gate/people/2.0", "people", r"\$\.release"),
        ("soak_s: 60", "window: {from_hour: 3, until_hour: 3}", "two different hours"),
    ],
)
def test_a_wrong_plan_is_named_by_its_place(before: str, after: str, fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        read_plan(TEXT.replace(before, after), "plan.yaml")


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("devices: [cam-99]", "'cam-99' is not enrolled"),
        ("groups: [nowhere]", "group 'nowhere' has no device"),
    ],
)
def test_a_plan_for_nobody_is_refused(line: str, fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        waves_of(read_plan(f"{TEXT}{line}\n", "p"), FLEET)
    with pytest.raises(ConfigError, match="no device takes part"):
        waves_of(PLAN, {})


def test_waves_by_percent_count_from_the_first_and_by_group_take_its_members() -> None:
    sizes = [list(waves_of(PLAN, FLEET).values()).count(n) for n in range(3)]
    assert sizes == [2, 8, 30]
    plan = read_plan(TEXT.replace("{percent: 5}", "{group: canary}"), "p")
    found = waves_of(plan, FLEET)
    assert {name for name, wave in found.items() if wave == 0} == {"cam-0", "cam-1"}
    assert set(found) == set(FLEET)
    only = read_plan(f"{TEXT}groups: [canary]\ndevices: [cam-7]\n", "p")
    assert set(waves_of(only, FLEET)) == {"cam-0", "cam-1", "cam-7"}


# What a device does in one tick: nothing, goes or comes, takes the command, or ends.
HAPPENINGS = st.lists(
    st.tuples(
        st.integers(0, 39),
        st.sampled_from(["away", "back", "works", "commits", "fails", "commits"]),
    ),
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(HAPPENINGS, max_size=40), st.integers(50, 95), st.integers(0, 5))
def test_nobody_is_asked_before_the_waves_before_hold(
    ticks: list[list[tuple[int, str]]], success: int, failures: int
) -> None:
    text = TEXT.replace("success_percent: 90", f"success_percent: {success}")
    plan = read_plan(text.replace("max_failed_percent: 10", f"max_failed_percent: {failures}"), "p")
    devices = {name: Progress(name, wave) for name, wave in waves_of(plan, FLEET).items()}
    tally = Tally(len(plan.waves), devices.values())
    halted = False
    for tick, happenings in enumerate(ticks):
        now_ms = tick * 30_000
        decision = decide_next(plan, tally, now_ms)
        assert_same(decision, decide(plan, list(devices.values()), now_ms))
        halted = halted or decision.verdict is Verdict.HALT
        assert not (decision.verdict is Verdict.HALT and decision.send)
        for name in decision.send:
            assert not halted
            assert_gates_hold(plan, devices, devices[name].wave, now_ms)
            devices[name] = replace(devices[name], step=Step.ASKED, sent_ms=now_ms)
            tally.put(devices[name])
        if halted:
            return
        for number, what in happenings:
            name = f"cam-{number}"
            devices[name] = happen(devices[name], what, now_ms)
            tally.put(devices[name])


def assert_same(kept: Decision, anew: Decision) -> None:
    """What was counted device by device decides as what is counted anew; only the order of asking may differ."""
    assert replace(kept, send=()) == replace(anew, send=())
    assert set(kept.send) == set(anew.send)


def assert_gates_hold(plan: Plan, devices: dict[str, Progress], wave: int, now_ms: int) -> None:
    """Said anew, in other words than the rules: count and soak of every wave before."""
    for number in range(wave):
        members = [one for one in devices.values() if one.wave == number]
        long_ago = [
            one
            for one in members
            if one.step is Step.COMMITTED and one.settled_ms <= now_ms - plan.soak_s * 1000
        ]
        assert len(long_ago) >= share_of(plan.success_percent, len(members))
        failed = sum(one.step is Step.FAILED for one in members)
        assert failed * 100 <= plan.max_failed_percent * len(members)


def happen(one: Progress, what: str, now_ms: int) -> Progress:
    if what in {"away", "back"}:
        return replace(one, online=what == "back")
    if one.step not in {Step.ASKED, Step.WORKING}:
        return one
    steps = {"works": Step.WORKING, "commits": Step.COMMITTED, "fails": Step.FAILED}
    return replace(one, step=steps[what], settled_ms=now_ms)


def test_a_simulation_tells_waves_soak_and_end() -> None:
    story = simulate(PLAN, waves_of(PLAN, FLEET), Assumptions(takes_s=120), start_ms=0)
    sent = [(m.at_s, m.wave, m.asked) for m in story if m.verdict == "send"]
    assert sent == [(0, 1, 2), (180, 2, 10), (360, 3, 40)]
    assert (story[-1].verdict, story[-1].at_s) == ("done", 480)


def test_a_simulated_bad_release_halts_in_the_first_wave() -> None:
    story = simulate(PLAN, waves_of(PLAN, FLEET), Assumptions(failing_percent=100), start_ms=0)
    assert (story[-1].verdict, story[-1].asked) == ("halt", 2)


def test_a_simulation_with_absent_devices_ends_without_an_end() -> None:
    story = simulate(PLAN, waves_of(PLAN, FLEET), Assumptions(offline_percent=100), start_ms=0)
    assert [(m.verdict, m.asked) for m in story] == [("wait", 0)]
    assert "offline" in story[-1].reason
