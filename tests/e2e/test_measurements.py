"""A device believes what it measured: a trial's latency is kept, and a slow variant is refused with it."""

from agent.host.board import read_facts
from agent.models.measurements import ALONE, TRIAL, Measurements, measured
from agent.models.profiles import load_profiles, recognise
from agent.schema.document import parse_json
from agent.schema.manifest import Manifest
from agent.schema.messages import ReplyStatus
from tests.parts.processes import until
from tests.parts.site import Device, Site


def call_it_slow(site: Site, device: Device, version: str) -> None:
    """Say that the release's variant is far too slow for this machine."""
    ref = site.release(version)
    manifest = parse_json(
        next(site.fleet.repository.public.rglob(f"*/{version}/*manifest.json")).read_bytes(),
        Manifest,
    )
    assert manifest.release_id in ref.path
    facts = read_facts()
    limit_ms = recognise(facts, load_profiles()).limits.latency_ms
    cache = Measurements(device.folder / "state")
    variant = manifest.variants[0]
    cache.record(measured(variant, facts, p95_ms=9 * limit_ms, frames=100, origin=ALONE))


def test_the_latency_of_a_trial_is_kept(site: Site) -> None:
    device = site.serving("measured")
    (kept,) = Measurements(device.folder / "state").load()
    assert kept.origin == TRIAL
    assert kept.p95_ms > 0
    assert kept.runtime.startswith("onnxruntime ")


def test_a_variant_that_was_measured_too_slow_is_refused_and_the_device_stays_reachable(
    site: Site,
) -> None:
    device = site.serving("choosy")
    call_it_slow(site, device, "2.0.0")
    reply = site.install(device, site.release("2.0.0"))
    assert reply.status is ReplyStatus.FAILED
    assert "(measured here) is over the limit" in device.log_text
    until(lambda: device.status.telemetry.fps > 1, 30, "the model before serves on")
    assert device.status.state.release == "sorters/parts/1.0.0"
