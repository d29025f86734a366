"""INT8 within a budget of accuracy: what loses more is refused by name, and nothing is written."""

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from agent.errors import PackageError
from agent.release.quantise import Quantiser
from tests.parts.processes import vigil
from tests.release.drafts import BUNDLED

MODEL = BUNDLED / "parts-2.onnx"


def quantise(
    scene: Path, calibrate: Path, out: Path, max_drop: float, more: Sequence[str] = ()
) -> tuple[int, str]:
    truth = ("--dataset", str(scene / "truth.json"), "--images", str(scene / "pictures"))
    budget = ("--max-drop", str(max_drop), "--pictures", "12", "--out", str(out))
    result = vigil(
        "release",
        "quantise",
        str(MODEL),
        "--calibrate",
        str(calibrate),
        *truth,
        *budget,
        *more,
        timeout_s=110,
    )
    assert "Traceback" not in result.stderr
    return result.returncode, result.stdout + result.stderr


def test_a_model_within_its_budget_is_written_and_says_what_it_lost(
    scene: Path, tmp_path: Path
) -> None:
    out = tmp_path / "int8.onnx"
    status, told = quantise(scene, scene / "pictures", out, max_drop=0.08, more=["--json"])
    assert status == 0, told
    assert "0 in float" in told
    said = json.loads(told.splitlines()[0])
    before, after = said["tries"]
    assert (said["file"], before["step"], before["drop"]) == (str(out), "float", 0.0)
    assert after["size_bytes"] == out.stat().st_size < before["size_bytes"]
    assert after["drop"] <= 0.08
    made = onnx.load(out)
    assert sum(node.op_type == "QuantizeLinear" for node in made.graph.node) > 50
    assert {"names", "task"} <= {entry.key for entry in made.metadata_props}
    assert out.stat().st_size < 0.9 * MODEL.stat().st_size


def test_calibration_on_darkness_is_refused_with_the_classes_that_lost_most(
    scene: Path, tmp_path: Path
) -> None:
    dark, out = tmp_path / "dark", tmp_path / "int8.onnx"
    dark.mkdir()
    cv2.imwrite(str(dark / "night.png"), np.zeros((360, 640, 3), np.uint8))
    status, told = quantise(scene, dark, out, max_drop=0.08)
    assert status == 1
    assert "package.accuracy" in told
    assert any(label in told.rpartition("most:")[2] for label in ("gear", "washer", "bolt"))
    assert not out.exists()


def test_layers_kept_in_float_are_not_quantised_and_final_ones_come_first() -> None:
    noise = np.random.default_rng(1).random((2, 1, 3, 320, 320), np.float32)
    with Quantiser(MODEL, list(noise), "minmax") as quantiser:
        worst = quantiser.by_harm()
        assert sorted(worst) == sorted(quantiser.convolutions)
        whole, spared = (onnx.load_from_string(quantiser.quantise(worst[:n])) for n in (0, 12))
    finals = {name for name in worst if name.endswith(("cv2.0.2/Conv", "cv3.2.2/Conv"))}
    assert finals <= set(worst[:12])
    counts = [
        sum(node.op_type == "DequantizeLinear" for node in made.graph.node)
        for made in (whole, spared)
    ]
    assert counts[1] < counts[0]


def test_the_silu_behind_a_convolution_is_rounded_with_it_and_scores_are_not() -> None:
    noise = np.random.default_rng(1).random((2, 1, 3, 320, 320), np.float32)
    with Quantiser(MODEL, list(noise), "minmax") as quantiser:
        spared = quantiser.by_harm()[-1]
        nodes = onnx.load_from_string(quantiser.quantise([spared])).graph.node
    makers = {name: node for node in nodes for name in node.output}
    kinds = {
        node.name: {makers[name].op_type for name in node.input if name in makers}
        for node in nodes
        if node.op_type in {"Sigmoid", "Mul"}
    }
    rounded = {name for name, inputs in kinds.items() if inputs == {"DequantizeLinear"}}
    silus = [name for name in kinds if "/act/" in name]
    assert set(silus) - rounded == {
        name for name in silus if spared.removesuffix("conv/Conv") in name
    }
    assert rounded <= set(silus)


@pytest.mark.parametrize("content", [b"", b"rubbish", b"\x08\x08rubbish"])
def test_what_is_no_onnx_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(PackageError) as refused:
        Quantiser(path, [np.zeros((1, 3, 32, 32), np.float32)], "minmax")
    assert refused.value.code == "package.model"
    assert str(path) in refused.value.message


def test_weights_of_a_reduced_range_have_seven_bits(tmp_path: Path) -> None:
    """Sums of two products with activations of eight bits fit in sixteen then: 2 * 255 * 64 < 32768."""
    path = tmp_path / "conv.onnx"
    weight = numpy_helper.from_array(np.linspace(-1, 1, 54, dtype=np.float32).reshape(2, 3, 3, 3))
    weight.name = "w"
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="conv")
    ends = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 4, 4]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2, 2, 2]),
    ]
    graph = helper.make_graph([node], "graph", ends[:1], ends[1:], [weight])
    opset = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    greatest = {}
    for reduced in (False, True):
        inputs = [np.ones((1, 3, 4, 4), np.float32)]
        with Quantiser(path, inputs, "minmax", reduce_range=reduced) as quantiser:
            made = onnx.load_from_string(quantiser.quantise())
        (stored,) = (one for one in made.graph.initializer if list(one.dims) == [2, 3, 3, 3])
        values = numpy_helper.to_array(stored)
        assert values.dtype == np.int8
        greatest[reduced] = int(np.abs(values.astype(int)).max())
    assert greatest[False] == 127
    assert 60 <= greatest[True] <= 64


def test_without_pictures_there_is_nothing_to_calibrate_on() -> None:
    with pytest.raises(PackageError, match="expected pictures"):
        Quantiser(MODEL, [], "minmax")


def test_a_file_of_an_older_opset_is_quantised_channel_by_channel(tmp_path: Path) -> None:
    """YOLO exports with opset 12, in which weights have one scale for all."""
    # One channel: the sum of two products of full scale saturates on an x86 without VNNI.
    shape, conv = [1, 1, 16, 16], helper.make_node("Conv", ["in", "w"], ["c"], name="conv")
    graph = helper.make_graph(
        [conv, helper.make_node("Relu", ["c"], ["out"], name="relu")],
        "g",
        [helper.make_tensor_value_info("in", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 4, 16, 16])],
        [numpy_helper.from_array(np.full((4, 1, 1, 1), 3.0, np.float32), "w")],
    )
    path = tmp_path / "old.onnx"
    opset = [helper.make_opsetid("", 12)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=7), path)
    with Quantiser(path, [np.ones(shape, np.float32)], "minmax") as quantiser:
        made = quantiser.quantise()
    session = onnxruntime.InferenceSession(made, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"in": np.ones(shape, np.float32)})
    assert np.allclose(found, 3.0, atol=0.05)
