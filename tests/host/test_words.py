from __future__ import annotations

import pytest

from agent.host.words import counted, lasting


def test_one_is_singular() -> None:
    assert [counted(number, "device") for number in (0, 1, 2)] == [
        "0 devices",
        "1 device",
        "2 devices",
    ]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (3540, "59 min"),
        (3599, "1.0 h"),
        (5400, "1.5 h"),
    ],
)
def test_a_duration_has_the_unit_that_fits(seconds: float, said: str) -> None:
    assert lasting(seconds) == said
