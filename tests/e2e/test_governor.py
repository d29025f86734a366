"""The governor on a real device: it steps down, says so everywhere, and an operator can hold it."""

from __future__ import annotations

import itertools
import time

import pytest

from agent.demo.releases import HINTED, Script
from agent.fleet.operators import Order
from agent.schema.governor import GovernorMove
from agent.schema.messages import Detections, Reply, State, Telemetry
from tests.parts.processes import until
from tests.parts.site import FILM, Device, Site
from tests.parts.starving import Starving, watched

TOP, FALLBACK = "onnx-fp32-320", "litert-int8-320"
LARGE, SMALL = "parts-1.onnx", "parts-1.tflite"
# The governor foretells one by the other: hints that are far from the truth forbid a climb on a slow machine.
TWO = Script("7.0.0", 7, (LARGE, SMALL), hints_ms={LARGE: 60.0, SMALL: 2.0})
ANY_MS = 60_000.0  # whatever the machine has to do beside
MEASURES = {"interval_s": 0.5, "detections": True}


@pytest.fixture
def site(own_site: Site) -> Site:
    """A fleet of its own: a release of two variants would stand above those of the shared one."""
    return own_site


def pin(site: Site, device: Device, rung: str) -> Reply:
    order = Order("pin-rung", {"rung": rung, "minutes": 10}, f"d/{device.name}")
    return site.end_of(site.fleet.order(order))


def governed(site: Site, name: str, max_p95_ms: float) -> Device:
    """A device with two variants of one release and a limit of its own."""
    governor = {
        "max_p95_ms": max_p95_ms,
        "max_memory_pressure": 100.0,  # which is the whole machine's
        "dwell_s": 3,
        "climb_s": 6,
    }
    device = site.running(
        name, cameras=[FILM], profile=HINTED, governor=governor, telemetry=MEASURES
    )
    reply = site.install(device, site.release("7.0.0", TWO))
    assert reply.status.value == "succeeded", reply
    return device


def test_a_limit_that_is_broken_makes_it_step_down_without_a_gap(site: Site) -> None:
    with watched() as starving:
        device = governed(site, "late", max_p95_ms=1.0)
        state = site.wait(device, lambda state: state.rung == FALLBACK)
        assert_no_gap(site, device, starving)
    assert state.variant == FALLBACK
    assert "limit 1 ms" in state.rung_reason
    move = site.messages(device, GovernorMove)[0]
    assert (move.origin, move.rung, move.cause) == (TOP, FALLBACK, "latency")
    assert move.figures["p95_ms"] > 1.0
    until(lambda: has_report(site, device), 30, "telemetry says where it stands")

    def is_shown() -> bool:
        return f"{FALLBACK} (3 of 5)" in " ".join(device.cli("status").stdout.split())

    until(is_shown, 60, "the status tells it")
    assert state.last_update is not None
    assert state.last_update.outcome.value == "committed", "no release is to blame"


def has_report(site: Site, device: Device) -> bool:
    reports = [message.governor for message in site.messages(device, Telemetry)]
    return any(report is not None and report.index == 2 for report in reports)


def assert_no_gap(site: Site, device: Device, starving: Starving) -> None:
    """The camera gives 15 frames a second: none is missed for long while the variant changes."""
    until(lambda: site.messages(device, GovernorMove), 30, "the move is an event")
    moved_ms = site.messages(device, GovernorMove)[0].at_ms

    def goes_on() -> bool:
        return site.messages(device, Detections)[-1].captured_ms > moved_ms + 1000

    until(goes_on, 30, "frames of the other variant")
    times_s = [one.captured_ms / 1000 for one in site.messages(device, Detections)]
    gaps_s = [
        end_s - begin_s - starving.between_s(begin_s, end_s)
        for begin_s, end_s in itertools.pairwise(times_s)
    ]
    assert max(gaps_s) < 1.5


def test_an_operator_holds_a_rung_and_lets_it_go(site: Site) -> None:
    device = governed(site, "held", max_p95_ms=ANY_MS)
    site.wait(device, lambda state: state.rung == TOP)
    capped = f"{FALLBACK}@2.5"
    assert pin(site, device, capped).status.value == "succeeded"
    site.wait(device, lambda state: state.rung == capped)
    since_s = time.monotonic() + 2
    until(lambda: slow_again(site, device, since_s), 30, "the cap holds")
    refused = pin(site, device, "no-such-rung")
    assert refused.code == "governor.unknown_rung"
    assert TOP in refused.message
    assert pin(site, device, "auto").status.value == "succeeded"
    site.wait(device, lambda state: state.rung == TOP, timeout_s=90)


def slow_again(site: Site, device: Device, since_s: float) -> bool:
    late = site.messages(device, Telemetry, since_s)
    return bool(late) and 0 < late[-1].fps < 4


def test_a_device_that_dies_on_a_low_rung_begins_at_the_top(site: Site) -> None:
    device = governed(site, "reborn", max_p95_ms=ANY_MS)
    pin(site, device, FALLBACK)
    site.wait(device, lambda state: state.rung == FALLBACK)
    device.kill()
    device.start()

    def is_back(state: State) -> bool:
        return state.online and state.rung == TOP and state.variant == TOP

    site.wait(device, is_back)
