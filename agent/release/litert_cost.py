"""What a LiteRT network costs, counted as `agent.release.graph_cost` counts ONNX."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ai_edge_litert import schema_py_generated as schema

_OP = schema.BuiltinOperator


def litert_cost(network: bytes) -> tuple[int, int]:
    """Return the parameters and multiply-accumulates of convolutions and matrix products, float or quantised.

    Args:
        network: The flatbuffer.
    """
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(network, 0))
    graph = model.subgraphs[0]
    codes = [max(one.builtinCode, one.deprecatedBuiltinCode) for one in model.operatorCodes]
    parameters = macs = 0
    for operator in graph.operators:
        inputs = [graph.tensors[place] for place in operator.inputs if place >= 0]
        shapes = [[int(side) for side in one.shape] for one in inputs]
        terms = _terms(codes[operator.opcodeIndex], operator, shapes)
        if terms:
            stored = [_is_stored(model.buffers[one.buffer]) for one in inputs]
            parameters += sum(
                math.prod(shape) for shape, is_kept in zip(shapes, stored, strict=True) if is_kept
            )
            macs += terms * math.prod(
                int(side) for side in graph.tensors[operator.outputs[0]].shape
            )
    return parameters, macs


def _is_stored(buffer: Any) -> bool:
    """Return whether a buffer has values, in the flatbuffer or behind it."""
    return bool(buffer.offset) or buffer.data is not None


def _terms(kind: int, operator: Any, shapes: Sequence[Sequence[int]]) -> int:
    """Return how many products one value of the output is the sum of; 0 where it is no product."""
    match kind:
        case _OP.CONV_2D:
            return math.prod(shapes[1][1:])
        case _OP.DEPTHWISE_CONV_2D:
            return math.prod(shapes[1][1:3])
        case _OP.FULLY_CONNECTED:
            return shapes[1][-1]
        case _OP.BATCH_MATMUL:
            return shapes[0][-2 if operator.builtinOptions.adjX else -1]
        case _:
            return 0
