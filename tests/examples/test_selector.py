"""What is chosen: properties of the selector for any stream of frames."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.examples.selector import Selector
from agent.schema.examples import ExamplesConfig, Reason
from tests.examples.conftest import box

SECOND_NS = 1_000_000_000
RULES = ExamplesConfig(uncertain_below=0.4, control_every=0, gap_s=10)

frames = st.lists(
    st.tuples(
        st.sampled_from(["door", "yard"]),
        st.integers(0, 5 * SECOND_NS),  # since the frame before
        st.lists(st.floats(0.25, 1.0), max_size=3),
        st.booleans(),
    ),
    max_size=60,
)


@settings(max_examples=60)
@given(frames, st.integers(0, 20), st.integers(0, 2**32))
def test_what_is_chosen_is_apart_in_time_and_has_its_reason(
    stream: list[tuple[str, int, list[float], bool]], control_every: int, seed: int
) -> None:
    rules = ExamplesConfig(uncertain_below=0.4, control_every=control_every, gap_s=10)
    selector = Selector(rules, random.Random(seed).random)  # noqa: S311 - a sample, no secret
    chosen: dict[tuple[str, Reason], list[int]] = {}
    now_ns = 0
    for camera, passed_ns, scores, drifted in stream:
        now_ns += passed_ns
        reason = selector.choose(camera, now_ns, [box(one) for one in scores], drifted=drifted)
        if reason is None:
            continue
        assert reason is not Reason.DRIFT or drifted
        assert reason is not Reason.UNCERTAIN or (min(scores) < 0.4 and not drifted)
        assert reason is not Reason.CONTROL or control_every
        chosen.setdefault((camera, reason), []).append(now_ns)
    for times in chosen.values():
        assert all(later - earlier >= 10e9 for earlier, later in itertools.pairwise(times))


@pytest.mark.parametrize(
    ("scores", "cause", "reason"),
    [
        ([0.9, 0.39], "", Reason.UNCERTAIN),
        ([0.9, 0.4], "", None),
        ([], "", None),
        ([], "blur", Reason.DRIFT),
        ([0.3], "blur", Reason.DRIFT),
    ],
)
def test_a_first_frame(scores: list[float], cause: str, reason: Reason | None) -> None:
    selector = Selector(RULES, lambda: 0.0)
    found = selector.choose("door", 0, [box(one) for one in scores], drifted=bool(cause))
    assert found is reason


def test_one_reason_does_not_hold_up_another_nor_another_camera() -> None:
    selector = Selector(RULES, lambda: 0.0)
    weak = [box(0.3)]
    assert selector.choose("door", 0, weak, drifted=False) is Reason.UNCERTAIN
    assert selector.choose("door", 1, weak, drifted=False) is None
    assert selector.choose("door", 1, weak, drifted=True) is Reason.DRIFT
    assert selector.choose("yard", 1, weak, drifted=False) is Reason.UNCERTAIN
    assert selector.choose("door", 10 * SECOND_NS, weak, drifted=False) is Reason.UNCERTAIN


def test_the_control_sample_is_one_in_so_many_whatever_they_show() -> None:
    rules = ExamplesConfig(control_every=50, gap_s=0.001)
    selector = Selector(rules, random.Random(1).random)  # noqa: S311 - a sample, no secret
    sure = [box(0.99)]
    found = [selector.choose("door", n * SECOND_NS, sure, drifted=False) for n in range(20_000)]
    assert set(found) == {None, Reason.CONTROL}
    assert 320 < found.count(Reason.CONTROL) < 480  # 400 expected, sigma 20
