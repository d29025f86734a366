"""Tiny detection models, built without a training framework.

Each finds "the colour of the picture": class 0, 1 or 2 for red, green, blue, with the mean of that channel as
score, in one fixed box; so wrong colour order, scale, quantisation or labels change the answer.
"""

import zipfile
from pathlib import Path

import cv2
import flatbuffers
import msgspec
import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as tfl
from onnx import TensorProto, helper, numpy_helper

from agent.schema.manifest import GoldenFrame, GoldenSet

SIZE = 32
ANCHORS = 12
LABELS = ["red", "green", "blue"]
BOX = (16.0, 12.0, 16.0, 8.0)  # centre and sides, pixels
BOX_XYXY = (8.0, 8.0, 24.0, 16.0)
METADATA = {
    "names": "{0: 'red', 1: 'green', 2: 'blue'}",
    "task": "detect",
    "imgsz": "[32, 32]",
    "stride": "32",
}


def boxes(unit: float = 1.0) -> np.ndarray:
    return np.repeat(np.array(BOX, np.float32)[None, :, None] / unit, ANCHORS, axis=2)


def mask() -> np.ndarray:
    """One anchor sees, the others are blind."""
    values = np.zeros((1, 1, ANCHORS), np.float32)
    values[0, 0, 3] = 1.0
    return values


def onnx_model(
    metadata: dict[str, str] | None = None, gain: float = 1.0, *, explosive: bool = False
) -> bytes:
    """NCHW RGB in [0, 1], output (1, 7, 12) with boxes in pixels; `gain` multiplies the scores.

    An explosive one overflows on any picture that is not black, so it survives its warm-up.
    """
    nodes = [
        helper.make_node("GlobalAveragePool", ["images"], ["mean"]),
        helper.make_node("Mul", ["mean", "fuse"], ["powder"]),
        helper.make_node("Exp" if explosive else "Identity", ["powder"], ["level"]),
        helper.make_node("Reshape", ["level", "shape"], ["column"]),
        helper.make_node("Mul", ["column", "mask"], ["scores"]),
        helper.make_node("Concat", ["boxes", "scores"], ["output0"], axis=1),
    ]
    constants = [
        numpy_helper.from_array(np.array([1, 3, 1], np.int64), "shape"),
        numpy_helper.from_array(mask() * np.float32(gain), "mask"),
        numpy_helper.from_array(boxes(), "boxes"),
        numpy_helper.from_array(np.array(1000.0 if explosive else 1.0, np.float32), "fuse"),
    ]
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIZE, SIZE])
    result = helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 7, ANCHORS])
    graph = helper.make_graph(nodes, "colour", [image], [result], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    helper.set_model_props(model, METADATA if metadata is None else metadata)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


class _Tfl:
    """A .tflite under construction; `quantised` makes every tensor int8 with scale 1/255, zero -128."""

    def __init__(self, *, quantised: bool) -> None:
        self.quantised = quantised
        self.model = tfl.ModelT()
        self.model.version = 3
        self.model.buffers = [tfl.BufferT()]
        self.model.operatorCodes = []
        self.graph = tfl.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.model.subgraphs = [self.graph]

    def tensor(self, name: str, shape: tuple[int, ...], values: np.ndarray | None = None) -> int:
        tensor = tfl.TensorT()
        tensor.name, tensor.shape, tensor.buffer = name, list(shape), 0
        tensor.type = tfl.TensorType.INT8 if self.quantised else tfl.TensorType.FLOAT32
        if values is not None and values.dtype == np.int32:
            tensor.type = tfl.TensorType.INT32
        elif self.quantised:
            tensor.quantization = tfl.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = [1 / 255], [-128]
            if values is not None:
                values = np.clip(np.rint(values * 255) - 128, -128, 127).astype(np.int8)
        if values is not None:
            buffer = tfl.BufferT()
            buffer.data = np.frombuffer(values.tobytes(), np.uint8)
            self.model.buffers.append(buffer)
            tensor.buffer = len(self.model.buffers) - 1
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def operator(
        self,
        code: int,
        inputs: list[int],
        output: int,
        kind: int,
        options: object,
        version: int = 1,
    ) -> None:
        entry = tfl.OperatorCodeT()
        entry.builtinCode, entry.deprecatedBuiltinCode, entry.version = code, code, version
        self.model.operatorCodes.append(entry)
        operator = tfl.OperatorT()
        operator.opcodeIndex = len(self.model.operatorCodes) - 1
        operator.inputs, operator.outputs = inputs, [output]
        operator.builtinOptionsType, operator.builtinOptions = kind, options
        self.graph.operators.append(operator)

    def finish(self, image: int, result: int) -> bytes:
        self.graph.inputs, self.graph.outputs, self.graph.name = [image], [result], "main"
        builder = flatbuffers.Builder(1 << 14)
        builder.Finish(self.model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())


def tflite_model(*, quantised: bool = False) -> bytes:
    """NHWC RGB, output (1, 7, 12) with normalised boxes; float32 or int8 throughout."""
    net = _Tfl(quantised=quantised)
    image = net.tensor("images", (1, SIZE, SIZE, 3))
    axes = net.tensor("axes", (2,), np.array([1, 2], np.int32))
    mean = net.tensor("mean", (1, 3))
    mean_options = tfl.ReducerOptionsT()
    mean_options.keepDims = False
    op, kind = tfl.BuiltinOperator, tfl.BuiltinOptions
    version = 2 if quantised else 1
    net.operator(op.MEAN, [image, axes], mean, kind.ReducerOptions, mean_options, version)
    shape = net.tensor("shape", (3,), np.array([1, 3, 1], np.int32))
    column = net.tensor("column", (1, 3, 1))
    net.operator(op.RESHAPE, [mean, shape], column, kind.ReshapeOptions, tfl.ReshapeOptionsT())
    seeing = net.tensor("mask", (1, 1, ANCHORS), mask())
    scores = net.tensor("scores", (1, 3, ANCHORS))
    net.operator(op.MUL, [column, seeing], scores, kind.MulOptions, tfl.MulOptionsT(), version)
    places = net.tensor("boxes", (1, 4, ANCHORS), boxes(SIZE))
    result = net.tensor("output0", (1, 7, ANCHORS))
    concat = tfl.ConcatenationOptionsT()
    concat.axis = 1
    net.operator(
        op.CONCATENATION, [places, scores], result, kind.ConcatenationOptions, concat, version
    )
    return net.finish(image, result)


def edgetpu_model() -> bytes:
    """A model whose only operator is the one the Edge TPU's compiler leaves behind."""
    net = _Tfl(quantised=True)
    image = net.tensor("images", (1, SIZE, SIZE, 3))
    result = net.tensor("output0", (1, 7, ANCHORS))
    net.operator(tfl.BuiltinOperator.CUSTOM, [image], result, tfl.BuiltinOptions.NONE, None)
    net.model.operatorCodes[0].customCode = "edgetpu-custom-op"
    return net.finish(image, result)


def with_appended_metadata(path: Path, name: str, text: str) -> None:
    """Append a zip with one file, as Ultralytics' exporter does."""
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, text)


def read_picture(source: Path | bytes) -> np.ndarray:
    """A BGR picture from a file or its bytes."""
    data = source.read_bytes() if isinstance(source, Path) else source
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return np.asarray(image, np.uint8)


def colour_frame(label: int, level: int = 204, size: tuple[int, int] = (SIZE, SIZE)) -> np.ndarray:
    """A BGR frame (height, width) in the colour of class `label`, of brightness `level`."""
    frame = np.zeros((*size, 3), np.uint8)
    frame[:, :, 2 - label] = level
    return frame


def colour_film(path: Path, frames: int) -> None:
    """A film of `colour_frame`s, 64 pixels square: frame n has the colour of class n % 3."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 5, (64, 64))
    for number in range(frames):
        writer.write(colour_frame(number % 3, size=(64, 64)))
    writer.release()


def golden_set(label: int = 0) -> bytes:
    """One frame that is red, of which `label` is expected."""
    image = cv2.imencode(".png", colour_frame(0))[1].tobytes()
    frame = GoldenFrame(image, {"onnx": [(label, 0.8, *BOX_XYXY)]})
    return msgspec.msgpack.encode(GoldenSet([frame], 0.25, 0.6))
