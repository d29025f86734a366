"""Which found boxes count as the expected ones."""

import pytest

from agent.vision.golden import GoldenBox, Matched, MatchRule, match

RULE = MatchRule(iou=0.7, score_tolerance=0.15)
A: GoldenBox = (0, 0.8, 0, 0, 10, 10)
B: GoldenBox = (1, 0.6, 50, 50, 70, 70)


@pytest.mark.parametrize(
    ("expected", "found", "pairs"),
    [
        pytest.param([A, B], [B, A], 2, id="the order does not matter"),
        pytest.param([A, B], [A], 1, id="one is missing"),
        pytest.param([A], [A, B], 1, id="one is too many"),
        pytest.param([A], [], 0, id="nothing is found"),
        pytest.param([], [A], 0, id="nothing is expected"),
        pytest.param([A], [(1, 0.8, 0, 0, 10, 10)], 0, id="another label"),
        pytest.param([A], [(0, 0.66, 0, 0, 10, 10)], 1, id="a score within tolerance"),
        pytest.param([A], [(0, 0.6, 0, 0, 10, 10)], 0, id="a score beyond tolerance"),
        pytest.param([A], [(0, 0.8, 0, 0, 10, 8)], 1, id="enough overlap"),
        pytest.param([A], [(0, 0.8, 0, 0, 10, 6)], 0, id="too little overlap"),
        pytest.param([A], [A, A], 1, id="an object counts once"),
        pytest.param([A, A], [A], 1, id="a finding counts once"),
        pytest.param([A], [(0, 0.8, 0, 0, 10, 8), A], 1, id="the best overlap wins"),
        pytest.param([(0, 0.8, 5, 5, 5, 5)], [(0, 0.8, 5, 5, 5, 5)], 0, id="an empty box"),
    ],
)
def test_match(expected: list[GoldenBox], found: list[GoldenBox], pairs: int) -> None:
    assert match(expected, found, RULE) == Matched(len(expected), len(found), pairs)


def test_shares_are_taken_over_all_frames() -> None:
    total = match([A, B], [A], RULE) + match([A], [A, B], RULE)
    assert [total.recall, total.precision] == pytest.approx([2 / 3, 2 / 3])


def test_an_empty_set_matches_wholly() -> None:
    assert (Matched().recall, Matched().precision) == (1.0, 1.0)
    assert Matched(expected=2).recall == 0.0
    assert Matched(found=2).precision == 0.0
