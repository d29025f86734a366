"""Deltas for metered links: smaller, loss-proof, and the same measurements when put together."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from agent.schema.document import to_json
from agent.schema.measures import TelemetryDelta
from agent.schema.messages import StageMs, Telemetry
from agent.telemetry.delta import FULL_EVERY, Deltas, apply, difference

BASE = Telemetry(
    v=1,
    device="cam-1",
    boot="b",
    at_ms=1,
    interval_ms=10_000,
    fps=10.0,
    stages={
        name: StageMs(p50=1.0, p95=2.0, p99=3.0) for name in ("capture", "queue", "pre", "infer")
    },
    cameras=[],
    worker_restarts=0,
    control_pss_mb=50.0,
    worker_pss_mb=100.0,
    temperature_c=60.0,
    outbox_messages=0,
    outbox_dropped=0,
    link_reconnects=0,
)


def test_a_full_message_comes_first_and_then_every_tenth() -> None:
    deltas = Deltas()
    sent = [deltas.next(replace(BASE, seq=number)) for number in range(2 * FULL_EVERY + 1)]
    full = [number for number, one in enumerate(sent) if isinstance(one, Telemetry)]
    assert full == [0, FULL_EVERY, 2 * FULL_EVERY]


def test_a_delta_gives_the_measurements_back_even_when_others_were_lost() -> None:
    deltas = Deltas()
    full = deltas.next(BASE)
    assert isinstance(full, Telemetry)
    stages = {**BASE.stages, "infer": StageMs(p50=9.0, p95=2.0, p99=3.0)}
    del stages["queue"]
    deltas.next(replace(BASE, seq=1, at_ms=2, worker_restarts=1))
    now = replace(BASE, seq=2, at_ms=3, temperature_c=None, stages=stages, outbox_messages=4)
    delta = deltas.next(now)
    assert isinstance(delta, TelemetryDelta)
    assert apply(full, delta) == now
    assert len(to_json(delta)) < len(to_json(now)) / 2


def test_small_moves_of_figures_are_left_out_and_counters_never() -> None:
    old = {"temperature_c": 60.0, "frames": 1000, "gone": 1}
    assert difference(old, {"temperature_c": 62.9, "frames": 1001}) == {
        "frames": 1001,
        "gone": None,
    }
    assert difference(old, {**old, "temperature_c": 63.1}) == {"temperature_c": 63.1}


def test_a_delta_against_another_message_is_refused() -> None:
    deltas = Deltas()
    deltas.next(BASE)
    delta = deltas.next(replace(BASE, seq=1))
    assert isinstance(delta, TelemetryDelta)
    with pytest.raises(ValueError, match="against message 0"):
        apply(replace(BASE, seq=5), delta)
