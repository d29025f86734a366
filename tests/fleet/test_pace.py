"""Who is slow among its like."""

from __future__ import annotations

from agent.fleet.pace import Pace, Slow, slower, usual
from agent.schema.pace import beside

PI = ("raspberry-pi-5", "shop/people/2.0", "int8-320")


def pace(device: str, infer_ms: float, kind: tuple[str, str, str] = PI) -> Pace:
    return Pace(device, kind, {"pre": 1.0, "infer": infer_ms, "post": 0.5})


def test_the_slow_one_is_named_with_its_stage_and_the_others_are_not() -> None:
    found = slower([pace("a", 20), pace("b", 21), pace("c", 22), pace("d", 43)])
    assert found == {"d": Slow("infer", 43, 21.5, 4)}
    assert str(found["d"]) == "infer 43 ms, 2.0 times the median of 4 alike"


def test_another_board_or_model_is_not_its_like() -> None:
    other = ("raspberry-pi-3", *PI[1:])
    assert slower([pace("a", 20), pace("b", 21), pace("c", 22), pace("d", 200, other)]) == {}


def test_a_camera_that_costs_more_than_elsewhere_is_named() -> None:
    paces = [
        Pace(name, PI, {"capture": ms, "infer": 20.0})
        for name, ms in zip("abc", (4, 5, 30), strict=True)
    ]
    assert slower(paces) == {"c": Slow("capture", 30, 5, 3)}


def test_medians_are_told_of_kinds_with_devices_enough_and_a_device_is_held_against_them() -> None:
    rare = ("raspberry-pi-3", *PI[1:])
    [found] = usual([pace("a", 20), pace("b", 21), pace("c", 40), pace("d", 9, rare)])
    assert (found.profile, found.release, found.variant, found.devices) == (*PI, 3)
    assert found.stages_ms == {"pre": 1.0, "infer": 21.0, "post": 0.5}
    assert beside({"infer": 43.0}, found).startswith("infer 43.0 ms, 2.0 times the median of 3")
    assert beside({"infer": 24.0}, found).startswith("no stage takes 1.5 times")


def test_two_devices_and_fractions_of_a_millisecond_say_nothing() -> None:
    assert slower([pace("a", 20), pace("b", 90)]) == {}
    assert slower([pace("a", 1), pace("b", 1), pace("c", 2.5)]) == {}


def test_a_device_that_measures_nothing_is_no_peer_of_that_stage() -> None:
    silent = [Pace(name, PI, {}) for name in "ab"]
    assert slower([*silent, pace("c", 500)]) == {}
