"""Layers that change nothing, exactly, and that no optimiser can know to change nothing.

Each takes one element c of a tensor x and computes something of it that is the same for every c, in a way that
takes arithmetic insight to see: the lesser of max(c, 0) and max(-c, 0) is zero. It then leaves x as it is, to the last bit:

- x - 0 (and not x + 0, which would make a negative zero positive),
- x · (0 + 1),
- x where not c · c < 0, else -x.

A graph is watched for where this costs little: behind activations, concatenations and poolings, on the smallest tensors.
Where a tensor is quantised next it would break the runtime's integer kernels, so those are left alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx
from onnx import TensorProto, helper

_BEHIND = frozenset({"Mul", "Add", "Concat", "MaxPool", "Relu"})
_NEVER_BEFORE = frozenset({"QuantizeLinear", "DequantizeLinear", "Shape"})
# The smallest tensors of this many times as many as are wanted are candidates.
_CHOICE = 3
_RANK = 4
_OLDEST_OPSET = 10  # Slice takes its bounds as inputs


@dataclass(frozen=True)
class _Place:
    """A tensor: `name`, its number of elements, and the place of its node."""

    name: str
    size: int
    node: int


def add_inert_layers(model: onnx.ModelProto, chance: random.Random, wanted: int) -> int:
    """Add at most `wanted` inert layers to the main graph; return how many there was a place for."""
    opset = max((one.version for one in model.opset_import if not one.domain), default=0)
    if opset < _OLDEST_OPSET:
        return 0
    smallest = sorted(_places(model), key=lambda place: (place.size, place.name))
    candidates = smallest[: wanted * _CHOICE]
    chosen = chance.sample(candidates, min(wanted, len(candidates)))
    # From the last to the first, so that places before them stay what they are.
    for number, place in enumerate(sorted(chosen, key=lambda one: -one.node)):
        _insert(model.graph, place, chance.choice(_KINDS), f"inert{number}")
    return len(chosen)


def _places(model: onnx.ModelProto) -> list[_Place]:
    graph = model.graph
    sizes = _sizes(model)
    takers: dict[str, set[str]] = {}
    for node in graph.node:
        for name in node.input:
            takers.setdefault(name, set()).add(node.op_type)
    given_out = {value.name for value in graph.output}
    return [
        _Place(name, sizes[name], place)
        for place, node in enumerate(graph.node)
        if node.op_type in _BEHIND
        for name in node.output
        if name in sizes and name not in given_out and not takers.get(name, set()) & _NEVER_BEFORE
    ]


def _sizes(model: onnx.ModelProto) -> dict[str, int]:
    """Return the number of elements of each float32 picture-like tensor of a known shape."""
    inferred = onnx.shape_inference.infer_shapes(model)
    sizes = {}
    for value in inferred.graph.value_info:
        tensor = value.type.tensor_type
        sides = [side.dim_value for side in tensor.shape.dim]
        if tensor.elem_type == TensorProto.FLOAT and len(sides) == _RANK and all(sides):
            size = 1
            for side in sides:
                size *= side
            sizes[value.name] = size
    return sizes


def _insert(graph: onnx.GraphProto, place: _Place, kind: Kind, prefix: str) -> None:
    for node in graph.node:
        node.input[:] = [f"{prefix}.out" if name == place.name else name for name in node.input]
    layer = _Layer(graph, prefix)
    ends = layer.constant("ends", TensorProto.INT64, [1] * _RANK)
    starts = layer.constant("starts", TensorProto.INT64, [0] * _RANK)
    layer.add("Slice", [place.name, starts, ends], "c")
    kind(layer, place.name)
    for offset, node in enumerate(layer.nodes):
        graph.node.insert(place.node + 1 + offset, node)


class _Layer:
    """The nodes of one inert layer while they are written; names get its prefix."""

    def __init__(self, graph: onnx.GraphProto, prefix: str) -> None:
        self._graph = graph
        self._prefix = prefix
        self.nodes: list[onnx.NodeProto] = []

    def constant(self, name: str, kind: int, values: Sequence[float]) -> str:
        full = f"{self._prefix}.{name}"
        self._graph.initializer.append(helper.make_tensor(full, kind, [len(values)], values))
        return full

    def add(self, op: str, inputs: Sequence[str], output: str) -> str:
        full = f"{self._prefix}.{output}"
        self.nodes.append(helper.make_node(op, list(inputs), [full]))
        return full

    def zero(self) -> str:
        """The square of min(max(c, 0), max(-c, 0)): a product would be NaN where c is infinite, the least itself -0."""
        c = f"{self._prefix}.c"
        positive = self.add("Relu", [c], "positive")
        negative = self.add("Relu", [self.add("Neg", [c], "negated")], "negative")
        return self.add("Mul", [self.add("Min", [positive, negative], "least")] * 2, "zero")


Kind = Callable[[_Layer, str], str]


def _less_nothing(layer: _Layer, tensor: str) -> str:
    return layer.add("Sub", [tensor, layer.zero()], "out")


def _times_one(layer: _Layer, tensor: str) -> str:
    one = layer.constant("one", TensorProto.FLOAT, [1.0])
    return layer.add("Mul", [tensor, layer.add("Add", [layer.zero(), one], "factor")], "out")


def _always_this(layer: _Layer, tensor: str) -> str:
    nothing = layer.constant("nothing", TensorProto.FLOAT, [0.0])
    # Not Abs, which some optimisers know to be no less than zero.
    square = layer.add("Mul", [layer.nodes[0].output[0]] * 2, "square")
    sure = layer.add("Not", [layer.add("Less", [square, nothing], "less")], "sure")
    return layer.add("Where", [sure, tensor, layer.add("Neg", [tensor], "other")], "out")


_KINDS: Sequence[Kind] = (_less_nothing, _times_one, _always_this)
