"""Choosing a variant: the best that fits, and a reason for every other."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from agent.models.choose import choose
from agent.schema.profile import (
    BoardFacts,
    Choice,
    DeviceProfile,
    Limits,
    Match,
    Preference,
    Prior,
    Verdict,
)
from agent.schema.values import BackendName, Precision
from tests.parts.releases import manifest, variant

ORT, LITERT, TENSORRT = BackendName.ONNXRUNTIME, BackendName.LITERT, BackendName.TENSORRT
PROFILE = DeviceProfile(
    schema=1,
    name="board",
    description="a board",
    match=Match(),
    prefer=[
        Preference(backend=LITERT, precision=Precision.INT8, sizes=[416, 320]),
        Preference(backend=ORT, precision=Precision.FP32, sizes=[640, 320]),
    ],
    limits=Limits(memory_mb=512, latency_ms=100.0, target_fps=5.0),
    priors=[
        Prior(backend=ORT, precision=Precision.FP32, size=320, ms=20.0, source="here"),
        Prior(backend=ORT, precision=Precision.FP32, size=640, ms=90.0, source="here"),
    ],
)
FACTS = BoardFacts(
    model="board",
    compatible=[],
    architecture="aarch64",
    cores=4,
    memory_mb=2000,
    cpu_aes=True,
    backends={ORT: "1.32.0", LITERT: "2.3.0"},
)
SMALL = variant(320, accuracy=0.33)
LARGE = variant(640, accuracy=0.45)
INT8 = variant(320, "litert", "int8", accuracy=0.33)


def verdict(choice: Choice, variant_id: str) -> Verdict:
    return next(each for each in choice.verdicts if each.variant == variant_id)


def profile(**limits: Any) -> DeviceProfile:
    return msgspec.structs.replace(
        PROFILE, limits=msgspec.structs.replace(PROFILE.limits, **limits)
    )


def test_the_most_accurate_of_those_that_fit_is_chosen() -> None:
    choice = choose(PROFILE, manifest(SMALL, LARGE), FACTS)
    assert choice.variant == "onnxruntime-fp32-640"
    assert choice.profile == "board"
    chosen = verdict(choice, "onnxruntime-fp32-640")
    assert chosen.accepted
    assert "accuracy 0.450" in chosen.reason
    other = verdict(choice, "onnxruntime-fp32-320")
    assert not other.accepted
    assert "more accurate: 0.450 against 0.330" in other.reason


def test_every_variant_gets_a_verdict_in_the_manifests_order() -> None:
    choice = choose(PROFILE, manifest(LARGE, SMALL, INT8), FACTS)
    assert [each.variant for each in choice.verdicts] == [LARGE.id, SMALL.id, INT8.id]
    assert sum(each.accepted for each in choice.verdicts) == 1
    assert all(each.reason for each in choice.verdicts)


@pytest.mark.parametrize(
    ("large", "problem"),
    [
        (variant(640, "tensorrt", "fp16"), "runtime tensorrt is not installed"),
        (variant(640, needs={"edgetpu": True}), "needs edgetpu present"),
        (variant(640, memory_mb=513), "needs 513 MiB, 512 MiB may be used"),
        (variant(1280), "over the limit of 100.0 ms"),
        (variant(640, "litert", "int8"), "no latency is known for litert int8 at 640"),
        (variant(320, "litert", "fp32"), "no latency is known for litert fp32 at 320"),
    ],
)
def test_what_does_not_fit_is_passed_over_with_its_reason(large: Any, problem: str) -> None:
    better = msgspec.structs.replace(large, accuracy=0.9)
    choice = choose(PROFILE, manifest(better, SMALL), FACTS)
    assert choice.variant == SMALL.id
    assert problem in verdict(choice, better.id).reason


def test_where_nothing_fits_nothing_is_chosen_and_all_is_explained() -> None:
    bare = msgspec.structs.replace(FACTS, backends={})
    choice = choose(PROFILE, manifest(SMALL, LARGE), bare)
    assert choice.variant is None
    assert all("installed: none" in each.reason for each in choice.verdicts)


def test_needs_are_met_by_facts_and_may_ask_for_absence() -> None:
    coral = msgspec.structs.replace(FACTS, accelerators={"edgetpu": True})
    special = variant(320, "litert", "int8", accuracy=0.9, needs={"edgetpu": True})
    plain = variant(416, "litert", "int8", accuracy=0.95, needs={"edgetpu": False})
    assert choose(PROFILE, manifest(special, plain), coral).variant == special.id
    assert choose(PROFILE, manifest(special, plain), FACTS).variant == plain.id


def test_memory_is_what_the_board_has_less_the_reserve() -> None:
    tight = msgspec.structs.replace(FACTS, memory_mb=160)
    choice = choose(PROFILE, manifest(SMALL), tight)
    assert choice.variant is None
    assert "144 MiB may be used" in choice.verdicts[0].reason


def test_the_frame_rate_limits_latency_too() -> None:
    choice = choose(profile(target_fps=20.0), manifest(SMALL, LARGE), FACTS)
    assert choice.variant == SMALL.id
    assert "over the limit of 50.0 ms" in verdict(choice, LARGE.id).reason


def test_a_measurement_beats_a_hint_and_a_hint_beats_a_published_figure() -> None:
    hinted = msgspec.structs.replace(LARGE, latency_ms={"board": 70.0, "other": 1.0})
    published = verdict(choose(PROFILE, manifest(LARGE), FACTS), LARGE.id)
    by_hint = verdict(choose(PROFILE, manifest(hinted), FACTS), LARGE.id)
    measured = verdict(choose(PROFILE, manifest(hinted), FACTS, {LARGE.id: 61.0}), LARGE.id)
    assert [each.expected_ms for each in (published, by_hint, measured)] == [90.0, 70.0, 61.0]
    assert [each.measured for each in (published, by_hint, measured)] == [False, False, True]


def test_a_bad_measurement_rules_out_what_looked_good() -> None:
    choice = choose(PROFILE, manifest(SMALL, LARGE), FACTS, {LARGE.id: 140.0})
    assert choice.variant == SMALL.id
    assert "140.0 ms (measured here)" in verdict(choice, LARGE.id).reason


def test_a_good_measurement_admits_what_nobody_knew() -> None:
    unknown = variant(640, "litert", "int8", accuracy=0.9)
    assert choose(PROFILE, manifest(unknown), FACTS).variant is None
    assert choose(PROFILE, manifest(unknown), FACTS, {unknown.id: 50.0}).variant == unknown.id


def test_a_published_figure_is_scaled_by_pixels_from_the_nearest_size() -> None:
    wide = variant(256, input=msgspec.structs.replace(SMALL.input, width=320, height=160))
    result = choose(PROFILE, manifest(wide), FACTS).verdicts[0]
    assert result.expected_ms == pytest.approx(10.0)
    assert "scaled by pixels" in result.reason
    assert choose(PROFILE, manifest(variant(512)), FACTS).verdicts[0].expected_ms == pytest.approx(
        90.0 * 512**2 / 640**2
    )


def test_an_unknown_latency_is_tried_where_the_profile_prefers_the_kind() -> None:
    choice = choose(PROFILE, manifest(INT8), FACTS)
    assert choice.variant == INT8.id
    assert "latency not known yet" in choice.verdicts[0].reason
    assert choice.verdicts[0].expected_ms is None


def test_equal_accuracy_is_decided_by_speed_then_by_preference() -> None:
    measured = {SMALL.id: 20.0, INT8.id: 30.0}
    assert choose(PROFILE, manifest(INT8, SMALL), FACTS, measured).variant == SMALL.id
    same = {SMALL.id: 20.0, INT8.id: 20.0}
    choice = choose(PROFILE, manifest(SMALL, INT8), FACTS, same)
    assert choice.variant == INT8.id
    assert "faster or preferred" in verdict(choice, SMALL.id).reason


def test_a_known_latency_beats_an_unknown_one_at_equal_accuracy() -> None:
    assert choose(PROFILE, manifest(INT8, SMALL), FACTS).variant == SMALL.id


def test_the_order_of_variants_does_not_matter() -> None:
    variants = [SMALL, LARGE, INT8, variant(416, "litert", "int8", accuracy=0.45)]
    chosen = {
        choose(PROFILE, manifest(*variants[start:], *variants[:start]), FACTS).variant
        for start in range(len(variants))
    }
    assert len(chosen) == 1
