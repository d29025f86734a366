"""An update to a TensorRT variant: engine built, proved, served, and there again after a restart.

NVIDIA's library is a double; see `tests/vision/nvidia`.
"""

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from agent.demo import releases
from agent.demo.releases import Script
from agent.release.build import build_release
from agent.schema.manifest import ReleaseRef
from agent.schema.messages import ReplyStatus
from agent.schema.values import BackendName, Precision
from tests.parts.processes import children, until
from tests.parts.site import MODEL, Device, Site
from tests.vision.peer import NVIDIA

VERSION = "7.0.0"


@pytest.fixture
def site(own_site: Site) -> Site:
    """A fleet in which no other test must publish a lower counter afterwards."""
    return own_site


@pytest.fixture
def seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """TensorRT as the board's Python has it; the file collects the processes that loaded an engine."""
    info = tmp_path / "tensorrt-10.13.3.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tensorrt\nVersion: 10.13.3\n")
    monkeypatch.setenv("PYTHONPATH", f"{NVIDIA}:{tmp_path}")
    monkeypatch.setenv("TENSORRT_DOUBLE", f"seen={tmp_path / 'seen'}")
    return tmp_path / "seen"


def publish(site: Site) -> ReleaseRef:
    draft = releases.draft_of(Script(VERSION, 7, (MODEL.name,)))
    (onnx,) = draft.variants
    variant = replace(
        onnx,
        backend=BackendName.TENSORRT,
        precision=Precision.FP16,
        latency_ms={"generic-x86-64": 20.0, "generic-arm64": 20.0},
    )
    draft = replace(draft, variants=[variant])
    dek = os.urandom(32)
    site.fleet.registry.put_release_key(draft.release_id, dek)
    folder = site.fleet.folder / "releases" / VERSION
    build_release(folder, draft, dek)
    ref = site.fleet.repository.add_release(folder)
    site.fleet.publish()
    site.fleet.controller.hint(site.fleet.repository.timestamp_version)
    return ref


def serves_engine(device: Device, seen: Path) -> bool:
    loaded = seen.read_text().split() if seen.exists() else []
    return any(str(pid) in loaded for pid in children(device.pid))


def test_an_update_builds_its_engine_and_later_starts_find_it_or_build_it_again(
    site: Site, seen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = site.running("jetson")
    reply = site.install(device, publish(site), 60)
    assert reply.status is ReplyStatus.SUCCEEDED, reply
    assert serves_engine(device, seen)
    (engine,) = (device.folder / "state" / "engines").iterdir()
    assert MODEL.read_bytes()[:64] not in engine.read_bytes()
    assert device.stop() == 0

    device.start()
    until(lambda: serves_engine(device, seen), 30, "the engine serves again")
    assert len(re.findall("building the TensorRT engine", device.log_text)) == 1
    assert device.stop() == 0

    monkeypatch.setenv("TENSORRT_DOUBLE", f"seen={seen} driver=13000")
    device.start()
    until(lambda: "TensorRT serves parts 7.0.0 now" in device.log_text, 30, "a new engine")
    assert serves_engine(device, seen)
    assert len(re.findall("building the TensorRT engine", device.log_text)) == 2
    assert device.stop() == 0
