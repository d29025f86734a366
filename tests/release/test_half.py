"""FP16 of an ONNX model: half the bytes, the same inputs and outputs, nearly the same values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from agent.errors import PackageError
from agent.release.half import halve


def layers(path: Path) -> Path:
    values = np.random.default_rng(1)
    weights = values.normal(0, 0.1, (32, 3, 3, 3)).astype(np.float32)
    more = values.normal(0, 0.1, (32, 32, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["images", "w"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "v"], ["out"]),
    ]
    graph = helper.make_graph(
        nodes,
        "layers",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 16, 16])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 32, 12, 12])],
        [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(more, "v")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"names": "{0: 'part'}"})
    onnx.save(model, path)
    return path


def test_weights_are_halved_and_inputs_and_outputs_are_as_before(tmp_path: Path) -> None:
    source = layers(tmp_path / "layers.onnx")
    made = halve(source)
    assert made == halve(source)
    assert len(made) < 0.6 * source.stat().st_size
    read = onnx.load_from_string(made)
    assert {one.data_type for one in read.graph.initializer} == {TensorProto.FLOAT16}
    assert [entry.value for entry in read.metadata_props] == ["{0: 'part'}"]
    images = np.random.default_rng(2).random((1, 3, 16, 16), dtype=np.float32)
    before, after = (
        onnxruntime.InferenceSession(one).run(None, {"images": images})[0]
        for one in (str(source), made)
    )
    assert after.dtype == np.float32
    assert 0 < np.abs(after - before).max() < 0.01 * np.abs(before).max()


def test_what_is_no_onnx_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "no.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(PackageError, match=r"no\.onnx"):
        halve(path)
