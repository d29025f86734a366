"""What a network costs: its parameters, and the multiplications of one picture."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import NamedTuple

import onnx
from google.protobuf.message import DecodeError

from agent.errors import PackageError

# Nodes that give a stored tensor on in another number format.
_FORMATS = frozenset({"Cast", "DequantizeLinear", "QuantizeLinear"})


class GraphCost(NamedTuple):
    """Weights and biases of convolutions and matrix products, and their multiply-accumulates (MACs) for one picture."""

    parameters: int
    macs: int


def graph_cost(model: Path) -> GraphCost:
    """Count the convolutions and matrix products of an ONNX or LiteRT file, float or quantised.

    Raises:
        PackageError: It cannot be read, or a shape is not fixed.
    """
    if model.suffix == ".tflite":
        return GraphCost(*_litert(model))
    try:
        graph = onnx.shape_inference.infer_shapes(onnx.load(model)).graph
    except (DecodeError, onnx.shape_inference.InferenceError, ValueError) as error:
        message = f"{model}: cannot be read as ONNX: {error}"
        raise PackageError(message, code="package.model") from error
    shapes = {
        one.name: [side.dim_value for side in one.type.tensor_type.shape.dim]
        for one in (*graph.input, *graph.value_info, *graph.output)
    }
    stored = {one.name: list(one.dims) for one in graph.initializer}
    for node in graph.node:
        if node.op_type in _FORMATS and node.input[0] in stored:
            stored[node.output[0]] = stored[node.input[0]]
    parameters = macs = 0
    for node in graph.node:
        if node.op_type not in {"Conv", "Gemm", "MatMul"}:
            continue
        out = math.prod(shapes.get(node.output[0], [0]))
        if not out:
            message = f"{model}: {node.op_type} {node.name!r} has no fixed output shape"
            raise PackageError(message, code="package.model")
        parameters += sum(math.prod(stored[name]) for name in node.input if name in stored)
        macs += out * _terms(node, shapes | stored)
    return GraphCost(parameters, macs)


def _litert(model: Path) -> tuple[int, int]:
    from agent.release.litert_cost import litert_cost

    try:
        return litert_cost(model.read_bytes())
    except (struct.error, IndexError, TypeError, ValueError) as error:
        message = f"{model}: cannot be read as LiteRT: {error}"
        raise PackageError(message, code="package.model") from error


def _terms(node: onnx.NodeProto, shapes: dict[str, list[int]]) -> int:
    """Return how many products one value of the output is the sum of."""
    if node.op_type == "Conv":
        return math.prod(shapes[node.input[1]][1:])
    transposed = any(one.name == "transA" and one.i for one in node.attribute)
    return shapes[node.input[0]][0 if transposed else -1]
