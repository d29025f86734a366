"""Make the two faulty models of the demo's story.

faults.py RELEASE_2.onnx VIDEO OUT      -> OUT/faulty-crash.onnx, OUT/faulty-glare.onnx
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from score import letterbox, video

CENTRE = (80, 240)
"""Rows of the 320x320 input that a letterboxed 640x360 picture fills for certain; the grey margins are left out."""


def constant(name: str, values: list[float] | list[int], kind: type) -> onnx.TensorProto:
    """A named constant tensor."""
    return numpy_helper.from_array(np.array(values, kind), name)


def crash(healthy: onnx.ModelProto) -> onnx.ModelProto:
    """Same input, output and metadata as the healthy model, yet no process survives running it.

    It divides the least 32-bit integer by -1. The result does not fit, and x86 processors trap: the process dies of
    SIGFPE, which no `except` sees. Processors that do not trap (ARM) go on to a loop that never ends: the run hangs.
    """
    nodes = [
        helper.make_node("ReduceMin", ["images"], ["dark"], keepdims=0),
        helper.make_node("Cast", ["dark"], ["dark_level"], to=TensorProto.INT32),
        helper.make_node("Clip", ["dark_level", "minus_one", "minus_one"], ["step_down"]),
        helper.make_node("Div", ["least", "step_down"], ["trap"]),
        helper.make_node("Loop", ["", "always", "trap"], ["never"], body=_endless()),
        helper.make_node("Cast", ["never"], ["never_float"], to=TensorProto.FLOAT),
        helper.make_node("Expand", ["never_float", "shape"], ["output0"]),
    ]
    constants = [
        constant("least", [-(2**31)], np.int32),
        numpy_helper.from_array(np.array(-1, np.int32), "minus_one"),
        numpy_helper.from_array(np.ones((), bool), "always"),
        constant("shape", [1, 9, 2100], np.int64),
    ]
    graph = helper.make_graph(
        nodes, "main_graph", healthy.graph.input, healthy.graph.output, constants
    )
    broken = helper.make_model(
        graph, opset_imports=healthy.opset_import, ir_version=healthy.ir_version
    )
    broken.metadata_props.extend(healthy.metadata_props)
    return broken


def _endless() -> onnx.GraphProto:
    """A loop body that always wants another round and keeps its memory small."""
    return helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["still"]),
            helper.make_node("Add", ["old", "old"], ["new"]),
        ],
        "endless",
        [
            _value("step", TensorProto.INT64, []),
            _value("going", TensorProto.BOOL, []),
            _value("old", TensorProto.INT32, [1]),
        ],
        [_value("still", TensorProto.BOOL, []), _value("new", TensorProto.INT32, [1])],
    )


def _value(name: str, kind: int, shape: list[int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def glare(healthy: onnx.ModelProto, limit: float) -> onnx.ModelProto:
    """The healthy model, but once the picture's mean brightness exceeds `limit` (0..1) every output is not-a-number.

    Like a half-precision overflow in strong light: a root of (limit - mean) is added to the output, times nothing.
    """
    broken = onnx.ModelProto()
    broken.CopyFrom(healthy)
    result = broken.graph.output[0].name
    for node in broken.graph.node:
        node.output[:] = [f"{name}/plain" if name == result else name for name in node.output]
    broken.graph.node.extend(
        [
            helper.make_node(
                "Slice", ["images", "glare/from", "glare/to", "glare/rows"], ["glare/centre"]
            ),
            helper.make_node(
                "ReduceMean", ["glare/centre"], ["glare/mean"], axes=[1, 2, 3], keepdims=0
            ),
            helper.make_node("Sub", ["glare/limit", "glare/mean"], ["glare/room"]),
            helper.make_node("Sqrt", ["glare/room"], ["glare/root"]),
            helper.make_node("Mul", ["glare/root", "glare/nothing"], ["glare/term"]),
            helper.make_node("Add", [f"{result}/plain", "glare/term"], [result]),
        ]
    )
    broken.graph.initializer.extend(
        [
            constant("glare/from", [CENTRE[0]], np.int64),
            constant("glare/to", [CENTRE[1]], np.int64),
            constant("glare/rows", [2], np.int64),
            constant("glare/limit", [limit], np.float32),
            constant("glare/nothing", [0.0], np.float32),
        ]
    )
    onnx.checker.check_model(broken, full_check=True)
    return broken


def brightness_limit(path: Path) -> float:
    """Half way between the video's ordinary frames and its glare, mean brightness 0..1."""
    means = np.array([letterbox(frame)[0][:, :, slice(*CENTRE)].mean() for frame in video(path)])
    ordinary, bright = float(np.median(means)), float(np.percentile(means, 95))
    limit = (ordinary + bright) / 2
    above = np.flatnonzero(means > limit)
    print(
        f"brightness: ordinary {ordinary:.3f}, glare {bright:.3f}, limit {limit:.3f}, frames above {above[0]}..{above[-1]}"
    )
    return limit


def main(release: Path, clip: Path, out: Path) -> None:
    """Write both files."""
    healthy = onnx.load(str(release))
    onnx.save(crash(healthy), str(out / "faulty-crash.onnx"))
    onnx.save(glare(healthy, brightness_limit(clip)), str(out / "faulty-glare.onnx"))


if __name__ == "__main__":
    main(*(Path(name) for name in sys.argv[1:4]))
