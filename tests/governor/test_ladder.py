"""What the ladder is made of."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from agent.governor.ladder import Rates, build_ladder, first_of, place_of, without_variant
from tests.parts.thermal import ladder, variant

sizes = st.dictionaries(st.sampled_from([160, 224, 320, 416, 640]), st.floats(1, 500), min_size=1)


@given(sizes, st.floats(1, 60), st.floats(0.5, 60), st.integers(1, 4))
def test_every_rung_costs_clearly_less_than_the_one_above(
    costs: dict[int, float], full: float, least: float, cameras: int
) -> None:
    variants = [variant(f"n-{size}", size, size / 1000) for size in sorted(costs, reverse=True)]
    known = {f"n-{size}": cost for size, cost in costs.items()}
    found = build_ladder(variants, known, Rates(full, least, cameras))
    assert (found[0].variant, found[0].max_fps) == (variants[0].id, None)
    assert len({rung.name for rung in found}) == len(found)
    for above, below in itertools.pairwise(found):
        assert below.load < 0.87 * above.load


def test_frames_go_before_pixels_where_that_costs_less() -> None:
    names = [rung.name for rung in ladder({640: 80.0, 320: 20.0}, full_fps=15, least_fps=5)]
    assert names == [
        "n-640",
        "n-640@8.66",
        "n-640@5",
        "n-320",
        "n-320@8.66",
        "n-320@5",
        "n-320@1.25",
    ]


def test_a_variant_that_costs_more_for_less_is_no_rung() -> None:
    worse = [variant("good", 320, 0.5), variant("worse", 320, 0.4)]
    found = build_ladder(worse, {"good": 20.0, "worse": 25.0}, Rates(10, 5))
    assert {rung.variant for rung in found} == {"good"}


def test_a_cost_that_nobody_knows_goes_by_pixels() -> None:
    pair = [variant("large", 640, 0.5), variant("small", 320, 0.4)]
    found = build_ladder(pair, {"large": 80.0, "small": None}, Rates(10, 10))
    assert {rung.variant: rung.cost_ms for rung in found} == {"large": 80.0, "small": 20.0}


def test_one_variant_at_one_rate_still_has_a_way_down() -> None:
    found = build_ladder([variant("only", 320, 0.5)], {}, Rates(5, 10))
    assert [rung.name for rung in found] == ["only", "only@1.25"]


def test_rungs_are_found_by_name_and_by_variant() -> None:
    found = ladder({640: 80.0, 320: 20.0}, full_fps=15, least_fps=5)
    assert place_of("n-320", found) == 3
    assert place_of("n-999", found) is None
    assert first_of("n-320", found) == 3
    assert first_of("n-999", found) == 0
    assert {rung.variant for rung in without_variant(found, "n-320")} == {"n-640"}
