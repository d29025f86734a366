"""No model file takes the control process down: it gives a named error, and the next model loads.

The control side is the real one: `Conversation.load` over a real worker process, sealed memfds and all.
"""

import io
import os
import random
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import flatbuffers
import onnx
import pytest
from ai_edge_litert import schema_py_generated as tfl
from onnx import TensorProto, helper

from agent.errors import ModelError, VigilError
from agent.host.memfd import memfd_of
from agent.models.store import InstalledRelease
from agent.schema.config import DetectConfig
from agent.schema.manifest import GoldenSpec, InputSpec, Manifest, ReleaseRef, SealedFile, Variant
from agent.schema.values import BackendName, TaskName
from agent.supervisor.conversation import Conversation
from agent.supervisor.settings import WorkerSettings
from agent.supervisor.worker_process import WorkerProcess
from tests.parts.processes import until
from tests.vision import models
from tests.vision.peer import variant

LOAD_S = 30.0
HUGE = 200_000
FLIPS = 25
SETTINGS = WorkerSettings(
    device="d1",
    boot="0" * 12,
    cameras=[],
    detect=DetectConfig(),
    default_fps=10.0,
    threads=1,
    memory_mb=1024,
)


class Desk:
    """The control side: loads files into a worker, and starts another when one is gone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = b""
        self.worker = self.start()
        self.talk = Conversation(SETTINGS, lambda _: self.payload(), lambda _: self.payload())

    def start(self) -> WorkerProcess:
        return WorkerProcess(SETTINGS.memory_mb, lambda *_: None, lambda _: None)

    def payload(self) -> int:
        return memfd_of(self.data, "model") if self.data else os.memfd_create("empty")

    def load(self, data: bytes, how: Variant) -> None:
        if not self.worker.alive:
            self.worker = self.start()
        self.data = data
        sealed = SealedFile(file="golden.sealed", size=1, sha256="0" * 64)
        manifest = Manifest(
            schema=1,
            name="colours",
            version="1",
            device_class="test",
            release_counter=1,
            min_agent="0",
            labels=models.LABELS,
            variants=[how],
            golden=GoldenSpec(payload=sealed),
        )
        ref = ReleaseRef(path="models/test/colours/1/manifest.json", sha256="0" * 64)
        release = InstalledRelease(ref, manifest, how, self.folder)
        self.talk.load(self.worker, release, LOAD_S)

    def refusal(self, data: bytes, how: Variant) -> VigilError | None:
        """The error that loading gives, None where the file is loaded after all."""
        try:
            self.load(data, how)
        except VigilError as error:
            return error
        return None


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    made = Desk(tmp_path_factory.mktemp("releases"))
    yield made
    made.worker.stop()


def how(backend: str, **changes: Any) -> Variant:
    layout, units = {"onnxruntime": ("nchw", "pixels"), "litert": ("nhwc", "normalised")}[backend]
    spec = InputSpec(width=models.SIZE, height=models.SIZE, layout=layout)
    return variant(backend=BackendName(backend), box_units=units, input=spec, **changes)


SOUND: dict[str, Callable[[], bytes]] = {
    "onnxruntime": models.onnx_model,
    "litert": models.tflite_model,
}
backends = pytest.mark.parametrize("backend", SOUND)


def huge_onnx_input() -> bytes:
    """A few bytes that ask for an input of 480 GB."""
    shape = [1, 3, HUGE, HUGE]
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)
    result = helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 3, 1, 1])
    node = helper.make_node("GlobalAveragePool", ["images"], ["output0"])
    return finished(helper.make_graph([node], "huge", [image], [result]))


def huge_onnx_weight() -> bytes:
    """A weight that claims 480 GB and holds 4 bytes."""
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[3, HUGE, HUGE])
    weight.raw_data = b"\0" * 4
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 32, 32])
    result = helper.make_tensor_value_info("output0", TensorProto.FLOAT, [3, HUGE, HUGE])
    node = helper.make_node("Identity", ["w"], ["output0"])
    return finished(helper.make_graph([node], "huge", [image], [result], [weight]))


def onnx_that_grows() -> bytes:
    """Small tensors at both ends, and 480 GB in between that only show at inference."""
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 32, 32])
    result = helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 3, 1, 1])
    size = helper.make_tensor("size", TensorProto.INT64, [4], [1, 3, HUGE, HUGE])
    nodes = [
        helper.make_node("GlobalAveragePool", ["images"], ["mean"]),
        helper.make_node("Expand", ["mean", "size"], ["vast"]),
        helper.make_node("Sin", ["vast"], ["waves"]),
        helper.make_node("GlobalAveragePool", ["waves"], ["output0"]),
    ]
    return finished(helper.make_graph(nodes, "grows", [image], [result], [size]))


def onnx_that_reads_files() -> bytes:
    """A weight that lies in a file of the host."""
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1, 7, 12])
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../../../../etc/passwd")
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 32, 32])
    result = helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 7, 12])
    node = helper.make_node("Identity", ["w"], ["output0"])
    return finished(helper.make_graph([node], "reads", [image], [result], [weight]))


def finished(graph: onnx.GraphProto) -> bytes:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return bytes(model.SerializeToString())


def huge_tflite() -> bytes:
    model = tfl.ModelT.InitFromPackedBuf(models.tflite_model())
    model.subgraphs[0].tensors[0].shape = [1, HUGE, HUGE, 3]
    builder = flatbuffers.Builder(1 << 14)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def tflite_with(text: bytes, name: str = "metadata.json", copies: int = 1) -> bytes:
    """A sound .tflite with an archive behind it."""
    file = io.BytesIO(models.tflite_model())
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive:
        for number in range(copies):
            archive.writestr(name if number == 0 else f"{number}-{name}", text)
    return file.getvalue()


def told(**metadata: str) -> bytes:
    return models.onnx_model(models.METADATA | {"task": "pose"} | metadata)


POSE = {"task": TaskName.POSE}
CASES: dict[str, tuple[str, Callable[[], bytes], dict[str, Any], set[str]]] = {
    "0 bytes as onnx": ("onnxruntime", bytes, {}, {"model.unreadable"}),
    "0 bytes as tflite": ("litert", bytes, {}, {"model.unreadable"}),
    "a picture as onnx": ("onnxruntime", lambda: b"\x89PNG" * 99, {}, {"model.unreadable"}),
    "a picture as tflite": ("litert", lambda: b"\x89PNG" * 99, {}, {"model.unreadable"}),
    "tflite as onnx": ("onnxruntime", models.tflite_model, {}, {"model.unreadable"}),
    "onnx as tflite": ("litert", models.onnx_model, {}, {"model.unreadable"}),
    "onnx with a huge input": ("onnxruntime", huge_onnx_input, {}, {"model.memory"}),
    "onnx with a huge weight": (
        "onnxruntime",
        huge_onnx_weight,
        {},
        {"model.unreadable", "model.memory"},
    ),
    "onnx that grows at inference": ("onnxruntime", onnx_that_grows, {}, {"model.inference"}),
    "onnx that reads files": ("onnxruntime", onnx_that_reads_files, {}, {"model.unreadable"}),
    "tflite with a huge input": (
        "litert",
        huge_tflite,
        {},
        {"model.unreadable", "model.memory", "model.crashed"},
    ),
    "zip bomb behind a tflite": (
        "litert",
        lambda: tflite_with(b" " * 200_000_000),
        {},
        {"model.metadata"},
    ),
    "deep nesting behind a tflite": (
        "litert",
        lambda: tflite_with(b"[" * 100_000),
        {},
        {"model.metadata"},
    ),
    "deep literals behind a tflite": (
        "litert",
        lambda: tflite_with(b"{'a':" + b"-(" * 60_000, "temp_meta.txt"),
        {},
        {"model.metadata"},
    ),
    "deep literals in onnx": (
        "onnxruntime",
        lambda: told(names="(" * 100_000),
        POSE,
        {"model.metadata"},
    ),
    "code in onnx": (
        "onnxruntime",
        lambda: told(names="__import__('os').abort()"),
        POSE,
        {"model.metadata"},
    ),
    "a billion keypoints": (
        "onnxruntime",
        lambda: told(kpt_shape="[1000000000, 3]"),
        POSE,
        {"model.metadata"},
    ),
    "another task": ("onnxruntime", told, {}, {"model.task"}),
}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("case", CASES)
def test_a_hostile_file_gives_a_named_error(desk: Desk, case: str) -> None:
    backend, make, changes, codes = CASES[case]
    error = desk.refusal(make(), how(backend, **changes))
    assert isinstance(error, ModelError), f"{case}: {error!r}"
    assert error.code in codes, f"{case}: {error.code}: {error}"
    desk.load(SOUND[backend](), how(backend))


@pytest.mark.timeout(180)
@backends
def test_a_truncated_file_gives_a_named_error(desk: Desk, backend: str) -> None:
    sound = SOUND[backend]()
    for share in (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99):
        error = desk.refusal(sound[: int(len(sound) * share)], how(backend))
        assert isinstance(error, ModelError), f"{share} of a file is loaded"
        assert error.code.startswith("model."), str(error)
    desk.load(sound, how(backend))


@pytest.mark.timeout(300)
@backends
def test_flipped_bits_are_loaded_or_give_a_named_error(desk: Desk, backend: str) -> None:
    sound, dice = SOUND[backend](), random.Random(backend)  # noqa: S311
    refused = 0
    for number in range(FLIPS):
        data = bytearray(sound)
        for _ in range(dice.choice((1, 4, 16))):
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        error = desk.refusal(bytes(data), how(backend))
        refused += error is not None
        assert error is None or error.code.startswith("model."), f"flip {number}: {error!r}"
    assert refused, "no flip did any harm: the test tests nothing"
    desk.load(sound, how(backend))


def test_a_worker_that_a_model_killed_is_noticed_and_replaced(desk: Desk) -> None:
    desk.load(SOUND["onnxruntime"](), how("onnxruntime"))
    desk.worker.kill()
    until(lambda: not desk.worker.alive, 30, "its end is noticed")
    desk.load(SOUND["onnxruntime"](), how("onnxruntime"))
