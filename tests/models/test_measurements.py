"""Latencies measured on this device, and what becomes of them."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import msgspec
import pytest

from agent.errors import StorageError
from agent.models.choose import choose, ranked, worth_measuring
from agent.models.measurements import ALONE, TRIAL, Measurements, key_of, measured
from agent.schema.profile import BoardFacts, DeviceProfile, Limits, Match, Preference
from agent.schema.values import BackendName, Precision
from tests.parts.power_cut_disk import PowerCutDisk, PowerCutError
from tests.parts.releases import manifest, variant

if TYPE_CHECKING:
    from pathlib import Path

ORT, LITERT = BackendName.ONNXRUNTIME, BackendName.LITERT
FACTS = BoardFacts(
    model="Raspberry Pi 5 Model B Rev 1.0",
    compatible=["raspberrypi,5-model-b"],
    architecture="aarch64",
    cores=4,
    memory_mb=8000,
    cpu_aes=True,
    backends={ORT: "1.32.0", LITERT: "2.3.0"},
)
PROFILE = DeviceProfile(
    schema=1,
    name="board",
    description="a board",
    match=Match(),
    prefer=[Preference(backend=ORT, precision=Precision.FP32, sizes=[640, 320])],
    limits=Limits(memory_mb=512, latency_ms=100.0, target_fps=5.0),
)
SMALL, LARGE = variant(320, accuracy=0.33), variant(640, accuracy=0.45)
OTHER = msgspec.structs.replace(
    LARGE, payload=msgspec.structs.replace(LARGE.payload, sha256="1" * 64)
)


def test_what_was_measured_is_found_again_and_changes_the_choice(tmp_path: Path) -> None:
    cache, release = Measurements(tmp_path), manifest(SMALL, OTHER)
    assert choose(PROFILE, release, FACTS, cache.of(release, FACTS)).variant == OTHER.id
    cache.record(measured(OTHER, FACTS, p95_ms=140.0, frames=50, origin=ALONE))
    assert Measurements(tmp_path).of(release, FACTS) == {OTHER.id: 140.0}
    choice = choose(PROFILE, release, FACTS, cache.of(release, FACTS))
    assert choice.variant == SMALL.id
    refused = ranked(release, choice)[-1][1]
    assert (refused.measured, refused.fits, refused.source) == (True, False, "measured here")


@pytest.mark.parametrize(("origin", "chosen"), [(TRIAL, OTHER.id), (ALONE, None)])
def test_a_trial_on_a_busy_board_does_not_leave_it_without_a_model(
    tmp_path: Path, origin: str, chosen: str | None
) -> None:
    cache, alone = Measurements(tmp_path), manifest(OTHER)
    cache.record(measured(OTHER, FACTS, p95_ms=140.0, frames=6, origin=origin))
    assert cache.choose(PROFILE, alone, FACTS).variant == chosen
    both = manifest(SMALL, OTHER)
    assert cache.choose(PROFILE, both, FACTS).variant == SMALL.id, "another one fits"


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "Raspberry Pi 4 Model B Rev 1.4"},
        {"power_mode": "15W"},
        {"backends": {ORT: "1.33.0"}},
    ],
)
def test_another_board_power_mode_or_runtime_counts_as_not_measured(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    cache = Measurements(tmp_path)
    cache.record(measured(SMALL, FACTS, p95_ms=20.0, frames=50, origin=ALONE))
    assert cache.of(manifest(SMALL), FACTS) == {SMALL.id: 20.0}
    assert cache.of(manifest(SMALL), msgspec.structs.replace(FACTS, **changes)) == {}


def test_a_board_without_a_name_is_known_by_its_processor() -> None:
    unknown = msgspec.structs.replace(
        FACTS, model="unknown", cpu=msgspec.structs.replace(FACTS.cpu, name="AMD EPYC")
    )
    assert key_of(SMALL, unknown)[0] == "AMD EPYC x4"


def test_a_trial_never_replaces_what_was_measured_alone(tmp_path: Path) -> None:
    cache = Measurements(tmp_path)
    assert cache.record(measured(SMALL, FACTS, p95_ms=30.0, frames=9, origin=TRIAL))
    assert cache.record(measured(SMALL, FACTS, p95_ms=20.0, frames=50, origin=ALONE))
    assert not cache.record(measured(SMALL, FACTS, p95_ms=31.0, frames=9, origin=TRIAL))
    assert cache.of(manifest(SMALL), FACTS) == {SMALL.id: 20.0}
    assert len(cache.load()) == 1


@pytest.mark.parametrize(
    "text",
    ["", "{", '{"schema": 2, "measurements": []}', '{"schema": 1}', "[" * 5000, " " * 300_000],
)
def test_a_damaged_file_is_set_aside_and_begun_anew(tmp_path: Path, text: str) -> None:
    (tmp_path / "measurements.json").write_text(text)
    cache = Measurements(tmp_path)
    assert cache.load() == []
    assert (tmp_path / "measurements.damaged").read_text() == text
    cache.record(measured(SMALL, FACTS, p95_ms=20.0, frames=50, origin=ALONE))
    assert len(cache.load()) == 1


def test_the_file_stays_small(tmp_path: Path) -> None:
    cache = Measurements(tmp_path)
    for number in range(205):
        payload = msgspec.structs.replace(SMALL.payload, sha256=f"{number:064x}")
        one = msgspec.structs.replace(SMALL, payload=payload)
        cache.record(measured(one, FACTS, p95_ms=1.0 + number, frames=5, origin=TRIAL))
    kept = cache.load()
    assert (len(kept), kept[-1].p95_ms) == (200, 205.0)


def test_a_power_cut_leaves_the_old_or_the_new_measurements(tmp_path: Path) -> None:
    first = measured(SMALL, FACTS, p95_ms=20.0, frames=50, origin=TRIAL)
    second = measured(SMALL, FACTS, p95_ms=25.0, frames=50, origin=TRIAL)
    for step in range(12):
        disk = PowerCutDisk(tmp_path / str(step))
        Measurements(disk.root, disk).record(first)
        disk.cut_after(step)
        try:
            Measurements(disk.root, disk).record(second)
        except PowerCutError:
            disk = disk.after_cut(random.Random(step))  # noqa: S311 - repeatable
        assert [each.p95_ms for each in Measurements(disk.root, disk).load()] in ([20.0], [25.0])


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        Measurements(tmp_path / "missing").record(
            measured(SMALL, FACTS, p95_ms=20.0, frames=50, origin=ALONE)
        )


def test_worth_measuring_is_what_could_run_whatever_its_latency() -> None:
    foreign = variant(640, "tensorrt", "fp16", accuracy=0.9)
    heavy = variant(960, memory_mb=4096)
    unknown = variant(1280, "litert", "int8", accuracy=0.6)
    release = manifest(SMALL, LARGE, foreign, heavy, unknown)
    assert [each.id for each in worth_measuring(PROFILE, release, FACTS)] == [
        unknown.id,
        LARGE.id,
        SMALL.id,
    ]


def test_what_needs_an_accelerator_is_not_judged_by_figures_of_the_processor() -> None:
    tpu = Preference(backend=LITERT, precision=Precision.INT8, sizes=[320], needs={"edgetpu": True})
    profile = msgspec.structs.replace(PROFILE, prefer=[tpu])
    facts = msgspec.structs.replace(FACTS, accelerators={"edgetpu": True})
    compiled = variant(320, "litert", "int8", id="tpu", needs={"edgetpu": True})
    plain = variant(320, "litert", "int8", accuracy=0.9)
    choice = choose(profile, manifest(compiled, plain), facts)
    assert choice.variant == "tpu"
