"""What every backend promises, on each kind of model file it takes."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from agent.errors import ModelError
from agent.host.memfd import memfd_of
from agent.vision.backends import BackendOptions, open_backend
from agent.vision.detector import load_detector
from tests.vision import models
from tests.vision.nvidia import engine_file

KINDS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "onnx float": ("onnxruntime", models.onnx_model),
    "tflite float": ("litert", models.tflite_model),
    "tflite int8": ("litert", lambda: models.tflite_model(quantised=True)),
    "tensorrt engine": ("tensorrt", models.onnx_model),
}


@pytest.fixture(params=KINDS, ids=lambda name: name.replace(" ", "-"))
def kind(request: pytest.FixtureRequest) -> tuple[str, bytes]:
    runtime, build = KINDS[request.param]
    if (
        runtime == "tensorrt"
    ):  # NVIDIA's library is a double that builds its engine of the ONNX file
        request.getfixturevalue("nvidia")
        return runtime, engine_file.pack(build())
    return runtime, build()


def test_a_backend_tells_its_tensors(kind: tuple[str, bytes], tmp_path: Path) -> None:
    backend = open_backend(kind[0], written(tmp_path, kind[1]), BackendOptions())
    assert backend.buffer.shape == backend.input.shape
    assert backend.buffer.dtype == backend.input.dtype
    assert [info.shape for info in backend.outputs] == [(1, 7, models.ANCHORS)]


def test_outputs_are_real_numbers_whatever_the_model_computes_in(
    kind: tuple[str, bytes], tmp_path: Path
) -> None:
    backend = open_backend(kind[0], written(tmp_path, kind[1]), BackendOptions())
    backend.buffer[...] = 1 if backend.input.dtype == np.float32 else 127
    (output,) = backend.infer()
    assert output.dtype == np.float32
    assert output[0, 4:, 3] == pytest.approx([1.0, 1.0, 1.0], abs=1e-3)
    assert not output[0, 4:, :3].any()


def test_the_buffer_is_read_anew_at_each_inference(kind: tuple[str, bytes], tmp_path: Path) -> None:
    path = Path(written(tmp_path, kind[1]))
    detector = load_detector(path, backend=kind[0], family="ultralytics", labels=models.LABELS)
    found = [detector.detect(models.colour_frame(label)).labels.tolist() for label in (0, 1, 2, 0)]
    assert found == [[0], [1], [2], [0]]


def test_a_model_is_loaded_from_a_sealed_memfd(kind: tuple[str, bytes]) -> None:
    fd = memfd_of(kind[1], "model")
    try:
        detector = load_detector(fd, backend=kind[0], family="ultralytics", labels=models.LABELS)
        assert detector.detect(models.colour_frame(1)).labels.tolist() == [1]
    finally:
        os.close(fd)


@pytest.mark.parametrize("keep", [0, 1, 40, 200])
def test_a_truncated_model_is_a_model_error(
    kind: tuple[str, bytes], keep: int, tmp_path: Path
) -> None:
    path = written(tmp_path, kind[1][:keep])
    with pytest.raises(ModelError) as caught:
        open_backend(kind[0], path, BackendOptions())
    assert caught.value.code in {"model.unreadable", "model.shape"}


def test_another_runtimes_model_is_a_model_error(kind: tuple[str, bytes], tmp_path: Path) -> None:
    other = "onnxruntime" if kind[0] == "litert" else "litert"
    with pytest.raises(ModelError) as caught:
        open_backend(other, written(tmp_path, kind[1]), BackendOptions())
    assert caught.value.code == "model.unreadable"


def test_an_unknown_runtime_is_named_with_the_known_ones() -> None:
    with pytest.raises(ModelError, match="onnxruntime") as caught:
        open_backend("crystal-ball", "model", BackendOptions())
    assert caught.value.code == "model.runtime_missing"


def test_an_execution_provider_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    path = written(tmp_path, models.onnx_model())
    with pytest.raises(ModelError, match="NoSuchProvider") as caught:
        open_backend("onnxruntime", path, BackendOptions(providers=["NoSuchProvider"]))
    assert caught.value.code == "model.runtime_missing"


def written(folder: Path, data: bytes) -> str:
    path = folder / "model"
    path.write_bytes(data)
    return str(path)
