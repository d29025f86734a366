"""ONNX: names, order, metadata and inert layers of a graph."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator

import onnx
import onnx.inliner
from google.protobuf.message import DecodeError

from agent.errors import PackageError
from agent.release.obfuscate import Plan
from agent.release.obfuscate.inert import add_inert_layers


def obfuscate_onnx(model: bytes, plan: Plan) -> bytes:
    """Return the model with nothing in it but what computes, under other names and in another order.

    Raises:
        PackageError: It cannot be parsed.
    """
    try:
        parsed = onnx.load_model_from_string(model)
        if parsed.functions:
            parsed = onnx.inliner.inline_local_functions(parsed)
    except (DecodeError, ValueError) as error:
        raise PackageError(f"not an ONNX model: {error}", code="package.model") from error
    chance = random.Random(plan.seed)  # noqa: S311 - a repeatable order, no secret
    add_inert_layers(parsed, chance, plan.inert_layers)
    _strip_model(parsed)
    _rename(parsed.graph, _fresh_names(chance), {})
    _shuffle(parsed.graph, chance)
    onnx.checker.check_model(parsed)
    return bytes(parsed.SerializeToString(deterministic=True))


def _strip_model(model: onnx.ModelProto) -> None:
    for field in ("producer_name", "producer_version", "domain", "model_version", "doc_string"):
        model.ClearField(field)
    for field in ("metadata_props", "training_info"):
        model.ClearField(field)
    for graph in _graphs(model.graph):
        _strip_graph(graph)


def _strip_graph(graph: onnx.GraphProto) -> None:
    graph.name = "g"
    for field in ("doc_string", "value_info", "metadata_props"):
        graph.ClearField(field)
    told: list[Iterable[object]] = [graph.node, graph.initializer, graph.input, graph.output]
    for items in told:
        for item in items:
            item.ClearField("doc_string")  # type: ignore[attr-defined] # all four messages have it
            item.ClearField("metadata_props")  # type: ignore[attr-defined]
    for node in graph.node:
        node.ClearField("name")
        for attribute in node.attribute:
            attribute.ClearField("doc_string")


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Yield a graph and all graphs inside its nodes."""
    yield graph
    for node in graph.node:
        for inner in _bodies(node):
            yield from _graphs(inner)


def _bodies(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """Yield the branches and loop bodies of a node."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def _fresh_names(chance: random.Random) -> Iterator[str]:
    used = {""}
    while True:
        name = ""
        while name in used:
            name = f"{chance.getrandbits(32):08x}"
        used.add(name)
        yield name


def _rename(graph: onnx.GraphProto, fresh: Iterator[str], outer: dict[str, str]) -> None:
    """Rename every value; a body also uses the names of the graphs around it."""
    sparse = [tensor.values for tensor in graph.sparse_initializer]
    values = [*graph.input, *graph.initializer, *sparse]
    made = [value.name for value in values] + [name for node in graph.node for name in node.output]
    names = {**outer, "": ""}
    for name in made:
        if name not in names or name in outer:
            names[name] = next(fresh)
    for value in (*values, *graph.output):
        value.name = names[value.name]
    for annotation in graph.quantization_annotation:
        annotation.tensor_name = names[annotation.tensor_name]
    for node in graph.node:
        for body in _bodies(node):
            _rename(body, fresh, names)
        node.input[:] = [names[name] for name in node.input]
        node.output[:] = [names[name] for name in node.output]


def _shuffle(graph: onnx.GraphProto, chance: random.Random) -> None:
    """Put nodes into a random order in which each still comes after what it uses (Kahn's algorithm)."""
    nodes = list(graph.node)
    maker = {name: place for place, node in enumerate(nodes) for name in node.output if name}
    waits = [{maker[name] for name in _uses(node) if name in maker} for node in nodes]
    users: dict[int, list[int]] = {}
    for place, before in enumerate(waits):
        for one in before:
            users.setdefault(one, []).append(place)
    ready = [place for place, before in enumerate(waits) if not before]
    order = []
    while ready:
        done = ready.pop(chance.randrange(len(ready)))
        order.append(nodes[done])
        for user in users.get(done, []):
            waits[user].discard(done)
            if not waits[user]:
                ready.append(user)
    # Copies, because clearing the field takes the nodes' contents with it.
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in order]
    graph.ClearField("node")
    graph.node.extend(copies)
    for node in graph.node:
        for body in _bodies(node):
            _shuffle(body, chance)
    _shuffle_initializers(graph, chance)


def _shuffle_initializers(graph: onnx.GraphProto, chance: random.Random) -> None:
    tensors = [onnx.TensorProto.FromString(one.SerializeToString()) for one in graph.initializer]
    chance.shuffle(tensors)
    graph.ClearField("initializer")
    graph.initializer.extend(tensors)


def _uses(node: onnx.NodeProto) -> Iterator[str]:
    """Yield the names a node needs, those that only its bodies use among them."""
    yield from node.input
    for body in _bodies(node):
        for inner in body.node:
            yield from _uses(inner)
        # A body may hand on a value of the graph around it untouched.
        yield from (value.name for value in body.output)
