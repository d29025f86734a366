"""Measuring a variant in a worker of its own, with a real runtime and a tiny model."""

from __future__ import annotations

import contextlib
import hashlib
import os
from typing import TYPE_CHECKING

import msgspec
import pytest

from agent.errors import ModelError
from agent.host.memfd import memfd_of
from agent.models.store import InstalledRelease
from agent.schema import ipc
from agent.schema.config import DetectConfig
from agent.schema.manifest import GoldenFrame, GoldenSet, ReleaseRef, Variant
from agent.schema.profile import RuntimeDefaults
from agent.schema.values import BackendName
from agent.supervisor import Conversation, WorkerSettings
from agent.supervisor.measuring import Bench, Timed, _grey_png, time_variant
from agent.supervisor.worker_process import WorkerProcess
from tests.parts.releases import manifest, variant
from tests.vision import models

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COLOUR = variant(models.SIZE)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "colour.onnx"
    path.write_bytes(models.onnx_model())
    return path


def bench(seconds: float = 0.3, *readings_c: float | None) -> Bench:
    remaining = iter(readings_c)
    last = readings_c[-1] if readings_c else None
    return Bench(1, RuntimeDefaults(), 2048, seconds, 80.0, lambda: next(remaining, last))


def test_a_variant_is_timed_within_its_seconds(model: Path) -> None:
    timed = time_variant(COLOUR, models.LABELS, model, bench(0.3, 40.0, 55.0, 50.0))
    assert timed.p95_ms > 0
    assert timed.frames >= 3
    assert timed.temperature_c == 55.0


def test_a_board_without_sensors_is_measured_too(model: Path) -> None:
    assert isinstance(time_variant(COLOUR, models.LABELS, model, bench()), Timed)


def test_heat_makes_it_wait_until_the_board_is_cool_again(model: Path) -> None:
    timed = time_variant(COLOUR, models.LABELS, model, bench(5.0, 85.0, 85.0, 60.0, 60.0))
    assert timed.temperature_c == 85.0


def test_a_board_that_stays_hot_is_not_measured(model: Path) -> None:
    with pytest.raises(ModelError, match="90 degrees are over the 80 allowed") as caught:
        time_variant(COLOUR, models.LABELS, model, bench(0.5, 90.0))
    assert caught.value.code == "model.too_hot"


def test_a_file_that_is_no_model_or_not_there_is_a_model_error(tmp_path: Path) -> None:
    (tmp_path / "rubbish.onnx").write_bytes(b"rubbish" * 100)
    for name in ("rubbish.onnx", "missing.onnx"):
        with pytest.raises(ModelError):
            time_variant(COLOUR, models.LABELS, tmp_path / name, bench())


@pytest.fixture
def worker() -> Iterator[WorkerProcess]:
    process = WorkerProcess(2048, lambda *_: None, lambda *_: None)
    yield process
    process.stop()


def trial(
    worker: WorkerProcess,
    folder: Path,
    expected: list[tuple[int, float, float, float, float, float]],
    tried: Variant = COLOUR,
) -> list[ipc.GoldenFinished]:
    """Run a trial's golden set in a real worker; return what the conversation told of its latency."""
    told: list[ipc.GoldenFinished] = []
    frame = GoldenFrame(_grey_png(models.SIZE, models.SIZE), {tried.id: expected})
    golden = msgspec.msgpack.encode(GoldenSet([frame], 0.25, 0.6))
    release = msgspec.structs.replace(manifest(tried), labels=models.LABELS)
    ref = ReleaseRef(path="models/shop/yolo/1.2/manifest.json", sha256=hashlib.sha256().hexdigest())
    installed = InstalledRelease(ref, release, tried, folder)
    settings = WorkerSettings("cam-1", "boot", [], DetectConfig(), 10.0, 1, 2048)
    conversation = Conversation(
        settings,
        lambda _: os.open(folder / "colour.onnx", os.O_RDONLY),
        lambda _: memfd_of(golden, "golden"),
        on_measured=lambda which, result: told.append(result) if which is installed else None,
    )
    conversation.load(worker, installed, 30.0)
    with contextlib.suppress(ModelError):
        conversation.run_golden(worker, installed)
    return told


@pytest.mark.parametrize("expected", [[], [(0, 0.9, 0.0, 0.0, 4.0, 4.0)]])
def test_the_latency_of_a_trial_is_told_whether_it_passes_or_not(
    worker: WorkerProcess,
    model: Path,
    expected: list[tuple[int, float, float, float, float, float]],
) -> None:
    (result,) = trial(worker, model.parent, expected)
    assert result.p95_ms > 0
    assert result.frames == 1


def test_a_tensorrt_variant_without_its_engine_tells_no_latency_of_tensorrt(
    worker: WorkerProcess, model: Path
) -> None:
    served_elsewhere = msgspec.structs.replace(COLOUR, backend=BackendName.TENSORRT)
    assert trial(worker, model.parent, [], served_elsewhere) == []
