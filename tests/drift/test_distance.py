"""Distances from a known distribution: figures that were computed by hand."""

from __future__ import annotations

import math

import pytest

from agent.drift.distance import (
    correlation,
    ks,
    outside,
    psi,
    psi_of_shares,
    quantiles,
    shares_of,
)
from agent.schema.drift import QUANTILES

EVEN = quantiles(range(101), QUANTILES)


def test_quantiles_are_evenly_spaced_and_interpolated() -> None:
    assert [5.0 * index for index in range(QUANTILES)] == EVEN
    assert quantiles([1.0, 2.0], 3) == [1.0, 1.5, 2.0]
    assert quantiles([3.0], 3) == [3.0, 3.0, 3.0]


def test_a_sample_of_the_same_distribution_is_near() -> None:
    same = [float(value) for value in range(101)]
    assert psi(EVEN, same) < 0.01
    assert ks(EVEN, same) < 0.06
    assert outside(EVEN, same, 0.0) < 0.11


def test_a_sample_beyond_the_distribution_is_as_far_as_can_be() -> None:
    beyond = [200.0] * 10
    assert ks(EVEN, beyond) == 1.0
    assert outside(EVEN, beyond, 10.0) == 1.0
    assert outside(EVEN, beyond, 200.0) == 0.0
    assert psi(EVEN, beyond) > 2.0


def test_the_index_of_shares_is_the_sum_of_its_terms() -> None:
    expected = (0.5 - 0.2) * math.log(0.5 / 0.2) + (0.5 - 0.8) * math.log(0.5 / 0.8)
    assert psi_of_shares({0: 0.2, 1: 0.8}, {0: 0.5, 1: 0.5}) == pytest.approx(expected)
    assert shares_of([1, 1, 3, 1]) == {1: 0.75, 3: 0.25}


def test_a_constant_figure_that_changes_is_noticed() -> None:
    never = quantiles([0.0] * 50, QUANTILES)
    assert psi(never, [0.0] * 50) == 0.0
    assert psi(never, [0.3] * 50) > 1.0
    assert ks(never, [0.3] * 50) == 1.0


def test_correlation_knows_no_scale() -> None:
    assert correlation([1, 2, 3], [10, 20, 30]) == pytest.approx(1.0)
    assert correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1.0)
    assert correlation([1, 1], [5, 5]) == 1.0
