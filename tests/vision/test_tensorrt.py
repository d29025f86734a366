"""TensorRT engines run, built and refused, on a double of NVIDIA's library that stands for the hardware."""

import gc
import importlib
import os
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from agent.errors import ModelError
from agent.host.memfd import memfd_of, read_memfd
from agent.schema import ipc
from agent.schema.engine import EnginePlan, GpuFacts
from agent.schema.values import BackendName, Precision
from agent.vision.backends import Backend, BackendOptions, open_backend
from agent.vision.backends.cuda import LIBRARIES, Cuda
from tests.vision import models
from tests.vision.nvidia import engine_file
from tests.vision.nvidia.libcudart import RUNTIME
from tests.vision.peer import NVIDIA, Peer

PLAN = EnginePlan(precision=Precision.FP16, workspace_mb=256)


def opened(tmp_path: Path, model: bytes, version: str = engine_file.VERSION) -> Backend:
    path = tmp_path / "model.engine"
    path.write_bytes(engine_file.pack(model, version))
    return open_backend("tensorrt", str(path), BackendOptions())


def identity_model(kind: int, shape: list[int], inputs: int = 1) -> bytes:
    """The first input comes out as `out`."""
    ins = [helper.make_tensor_value_info(f"in{n}", kind, shape) for n in range(inputs)]
    out = helper.make_tensor_value_info("out", kind, shape)
    nodes = [helper.make_node("Identity", ["in0"], ["out"])]
    graph = helper.make_graph(nodes, "identity", ins, [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


# running ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.INT8, TensorProto.FLOAT])
def test_an_engine_takes_and_gives_what_its_tensors_are(
    nvidia: ModuleType, tmp_path: Path, kind: int
) -> None:
    backend = opened(tmp_path, identity_model(kind, [1, 3, 2, 2]))
    assert backend.input.dtype == helper.tensor_dtype_to_np_dtype(kind)
    backend.buffer[...] = np.arange(12).reshape(1, 3, 2, 2)
    (output,) = backend.infer()
    assert output.dtype == np.float32
    assert output.ravel().tolist() == list(range(12))


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        (identity_model(TensorProto.FLOAT, [1, -1]), "no fixed shape"),
        (identity_model(TensorProto.FLOAT, [1, 4], inputs=2), "one input, found 2"),
        (identity_model(TensorProto.BOOL, [1, 4]), "has type"),
    ],
    ids=["dynamic", "two-inputs", "no-numpy-type"],
)
def test_an_engine_of_another_shape_is_refused(
    nvidia: ModuleType, tmp_path: Path, model: bytes, problem: str
) -> None:
    with pytest.raises(ModelError, match=problem) as caught:
        opened(tmp_path, model)
    assert caught.value.code == "model.shape"


@pytest.mark.parametrize(
    ("script", "code", "words"),
    [
        ("no-gpu", "model.accelerator", "CUDA initialization failure"),
        ("no-memory", "model.accelerator", "out of device memory"),
        ("no-device-memory", "model.accelerator", "cudaMalloc: out of memory"),
        ("version=8.5.2", "model.runtime_missing", "TensorRT 10 or newer, found 8.5.2"),
        ("version=10.3.0", "model.unreadable", "Version tag"),
    ],
)
def test_what_keeps_an_engine_from_loading_is_named(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    script: str,
    code: str,
    words: str,
) -> None:
    monkeypatch.setenv("TENSORRT_DOUBLE", script)
    request.getfixturevalue("nvidia")
    with pytest.raises(ModelError, match=words) as caught:
        opened(tmp_path, models.onnx_model())
    assert caught.value.code == code


def test_a_frame_that_fails_is_a_model_error_and_the_next_one_works(
    nvidia: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = opened(tmp_path, models.onnx_model())
    monkeypatch.setenv("TENSORRT_DOUBLE", "no-frames")
    with pytest.raises(ModelError, match="misaligned address") as caught:
        backend.infer()
    assert caught.value.code == "model.inference"
    monkeypatch.delenv("TENSORRT_DOUBLE")
    assert len(backend.infer()) == 1


def test_device_memory_is_given_back_with_the_model(nvidia: ModuleType, tmp_path: Path) -> None:
    # Held, no address of a former test's memory is used again when that is given back only now.
    before = dict(RUNTIME.memory)
    backend = opened(tmp_path, models.onnx_model())
    buffer = backend.buffer
    assert len(RUNTIME.memory.keys() - before.keys()) == 4  # two tensors, on both sides
    del backend
    gc.collect()
    assert len(RUNTIME.memory.keys() - before.keys()) == 1, "the buffer somebody still holds"
    buffer[...] = 1
    del buffer
    gc.collect()
    assert not RUNTIME.memory.keys() - before.keys()


def test_without_tensorrt_the_error_names_it(tmp_path: Path) -> None:
    if "tensorrt" in sys.modules:
        pytest.skip("the real TensorRT is installed here")
    with pytest.raises(ModelError, match="tensorrt") as caught:
        opened(tmp_path, models.onnx_model())
    assert caught.value.code == "model.runtime_missing"


def test_without_cuda_the_error_names_the_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr("ctypes.CDLL", load)
    with pytest.raises(ModelError, match=LIBRARIES[0]) as caught:
        Cuda()
    assert caught.value.code == "model.runtime_missing"


def test_the_real_cuda_runtime_has_every_call_and_says_that_there_is_no_gpu() -> None:
    pytest.importorskip("nvidia", reason="no nvidia-cuda-runtime wheel here")
    cuda = Cuda()
    assert cuda.version >= 11000
    if cuda.driver.split()[0] != "0":
        pytest.skip("a CUDA driver is here: this shows what happens without one")
    with pytest.raises(ModelError, match="driver") as caught:
        cuda.new("cudaMalloc", 16)
    assert caught.value.code == "model.accelerator"


# building, in a worker -------------------------------------------------------------------------------


def ask_for_engine(
    script: str, model: bytes, kind: type[ipc.EngineBuilt] | type[ipc.Failed], plan: EnginePlan
) -> tuple[ipc.EngineBuilt | ipc.Failed, bytes]:
    peer = Peer("--memory-mb", "1500", PYTHONPATH=NVIDIA, TENSORRT_DOUBLE=script)
    model_fd = memfd_of(model, "model")
    try:
        answer = peer.ask(kind, ipc.BuildEngine, model_fd, plan=plan)
        engine = b""
        if peer.fd is not None:
            with read_memfd(peer.fd) as view:
                engine = bytes(view)
            os.close(peer.fd)
        return answer, engine
    finally:
        os.close(model_fd)
        peer.process.kill()
        peer.process.wait(30)


@pytest.mark.parametrize(
    ("precision", "script", "flags"),
    [
        (Precision.FP32, "", []),
        (Precision.FP16, "", ["FP16"]),
        (Precision.INT8, "", ["INT8", "FP16"]),
        (Precision.FP16, "version=11.4.0.106", []),  # the ONNX file's own types decide
    ],
)
def test_an_engine_is_built_as_planned(precision: Precision, script: str, flags: list[str]) -> None:
    plan = EnginePlan(precision=precision, workspace_mb=256)
    answer, engine = ask_for_engine(script, models.onnx_model(), ipc.EngineBuilt, plan)
    assert isinstance(answer, ipc.EngineBuilt)
    facts, model = engine_file.unpack(engine) or ({}, b"")
    assert model == models.onnx_model()
    assert (facts["flags"], facts["workspace"]) == (flags, 256 * 2**20)
    assert facts["nice"] >= 15
    assert answer.gpu.tensorrt == facts["version"]
    assert answer.gpu.compute_capability == "8.7"


def test_a_model_that_tensorrt_cannot_take_is_named() -> None:
    answer, _ = ask_for_engine("", b"not onnx", ipc.Failed, PLAN)
    assert isinstance(answer, ipc.Failed)
    assert answer.code == "model.unreadable"
    assert "CrystalBall" in answer.message


@pytest.mark.parametrize(
    ("script", "precision", "code", "words"),
    [
        ("refuse", Precision.FP16, "model.engine", "Could not find any implementation"),
        ("memory", Precision.FP16, "model.engine", "MemoryError"),
        ("", Precision.DYNAMIC_INT8, "model.precision", "dynamic-int8"),
        ("version=8.5.2", Precision.FP16, "model.runtime_missing", "8.5.2"),
    ],
)
def test_a_build_that_fails_says_why(
    script: str, precision: Precision, code: str, words: str
) -> None:
    plan = EnginePlan(precision=precision, workspace_mb=256)
    answer, _ = ask_for_engine(script, models.onnx_model(), ipc.Failed, plan)
    assert isinstance(answer, ipc.Failed)
    assert (answer.code, words in answer.message) == (code, True), answer.message


def test_progress_is_thinned_out_and_stops_a_build_nobody_wants(nvidia: ModuleType) -> None:
    build = importlib.import_module("agent.vision.engine_build")
    heard: list[tuple[str, int, int]] = []

    def stop(phase: str, step: int, steps: int) -> bool:
        heard.append((phase, step, steps))
        return False

    model = memfd_of(models.onnx_model(), "model")
    try:
        with read_memfd(model) as view, pytest.raises(ModelError) as caught:
            build.build_engine(view, PLAN, stop)
    finally:
        os.close(model)
    assert heard == [("Building Engine", 1, 3)]
    assert caught.value.code == "model.engine"


def test_a_worker_says_what_an_engine_would_be_bound_to() -> None:
    peer = Peer(PYTHONPATH=NVIDIA, TENSORRT_DOUBLE="driver=13000")
    try:
        answer = peer.ask(ipc.GpuDescribed, ipc.DescribeGpu)
    finally:
        peer.process.kill()
        peer.process.wait(30)
    driver = answer.gpu.driver
    assert driver.split()[0] == "13000"
    assert answer.gpu == GpuFacts(
        tensorrt=engine_file.VERSION, cuda=12060, driver=driver, compute_capability="8.7"
    )


def test_a_worker_serves_a_tensorrt_variant_from_onnx_and_from_its_engine() -> None:
    peer = Peer(PYTHONPATH=NVIDIA)
    try:
        peer.load(models.onnx_model(), backend=BackendName.TENSORRT)
        engine = engine_file.pack(models.onnx_model())
        peer.load(engine, is_engine=True, backend=BackendName.TENSORRT)
        failed = peer.load(models.onnx_model(), ipc.Failed, is_engine=True, backend="tensorrt")
        assert failed.code == "model.unreadable"
    finally:
        peer.process.kill()
        peer.process.wait(30)
