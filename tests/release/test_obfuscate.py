"""An obfuscated model computes the same bits, and tells nothing of how it was made."""

import hashlib
import re
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from agent.errors import PackageError
from agent.release.obfuscate import Plan, obfuscate
from agent.release.obfuscate.proof import compare
from tests.parts.assets import asset
from tests.parts.processes import vigil
from tests.release.drafts import answer

BUNDLED = Path(__file__).parents[2] / "agent/demo/bundled"
ONNX, LITERT = BUNDLED / "parts-2.onnx", BUNDLED / "parts-2.tflite"
# What exporters write: paths of modules, names of packages and of the five classes.
TELLING = re.compile(
    rb"/model|model\.\d|/conv/|Conv_|ultralytics|pytorch|serving_default|bracket|washer|MLIR"
)


@pytest.mark.parametrize("path", [ONNX, LITERT], ids=["onnx", "litert"])
def test_a_bundled_model_computes_the_same_bits_and_tells_nothing(path: Path) -> None:
    before = path.read_bytes()
    after = obfuscate(before, Plan(seed=7))
    assert TELLING.search(before)
    assert not TELLING.search(after)
    proof = compare(before, after, rounds=0)
    assert (proof.inputs, proof.different, proof.largest) == (4, 0, 0.0)


@pytest.mark.parametrize(
    "name",
    [
        "yolo11n_320_fp32deq.onnx",
        "yolo11n_320_int8.onnx",
        "yolox_nano_416_fp32.onnx",
        "yolo11n_224_full_integer_quant.tflite",
        "yolov8n_320_int8_floatio.tflite",
        "yolo26n_640_int8_end2end.tflite",
    ],
)
def test_real_detectors_compute_the_same_bits(name: str) -> None:
    before = asset(f"models/{name}").read_bytes()
    after = obfuscate(before, Plan(seed=3))
    assert compare(before, after, rounds=0).identical
    assert not TELLING.search(after)


def test_the_same_seed_gives_the_same_file_and_another_one_another_order() -> None:
    before = ONNX.read_bytes()
    digests = [hashlib.sha256(obfuscate(before, Plan(seed))).hexdigest() for seed in (1, 1, 2)]
    assert digests[0] == digests[1]
    assert digests[0] != digests[2]
    orders = [
        [node.op_type for node in onnx.load_from_string(obfuscate(before, Plan(seed))).graph.node]
        for seed in (1, 2)
    ]
    assert orders[0] != orders[1]


def test_no_optimiser_of_the_runtime_folds_the_inert_layers_away() -> None:
    before = ONNX.read_bytes()
    bare, guarded = (optimised(obfuscate(before, Plan(7, layers))) for layers in (0, 8))
    assert bare["Neg"] == 0
    assert guarded["Slice"] - bare["Slice"] == 8
    assert guarded["Relu"] + guarded["Where"] > bare["Relu"] + bare["Where"]


def optimised(model: bytes) -> Counter[str]:
    """The operators that are left when ONNX Runtime has optimised all it can."""
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = f"{folder}/optimised.onnx"
        options.log_severity_level = 3
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        graph = onnx.load(options.optimized_model_filepath).graph
    return Counter(node.op_type for node in graph.node)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**31), special=st.sampled_from([0.0, -0.0, np.inf, -1e38, 1e-45]))
def test_inert_layers_keep_negative_zeros_and_extremes(seed: int, special: float) -> None:
    before = small_network()
    after = obfuscate(before, Plan(seed, inert_layers=3))
    picture = np.full((1, 3, 4, 4), special, np.float32)
    picture[0, 1] = np.random.default_rng(seed).normal(size=(4, 4))
    one, other = (
        onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        for model in (before, after)
    )
    expected = one.run(None, {one.get_inputs()[0].name: picture})[0]
    found = other.run(None, {other.get_inputs()[0].name: picture})[0]
    finite = np.isfinite(expected)
    assert np.array_equal(expected.view(np.uint32)[finite], found.view(np.uint32)[finite])
    assert np.array_equal(np.isfinite(found), finite)


def small_network() -> bytes:
    nodes = [
        helper.make_node("Add", ["images", "shift"], ["a"], name="/model/first"),
        helper.make_node("Mul", ["a", "images"], ["b"], doc_string="told"),
        helper.make_node("Concat", ["b", "a"], ["c"], axis=1),
        helper.make_node("MaxPool", ["c"], ["d"], kernel_shape=[2, 2]),
        helper.make_node(
            "If", ["yes"], ["out"], then_branch=branch("Neg"), else_branch=branch("Abs")
        ),
    ]
    constants = [
        numpy_helper.from_array(np.array([-0.0], np.float32), "shift"),
        numpy_helper.from_array(np.array([1], np.bool_).reshape(()), "yes"),
    ]
    picture = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 4, 4])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 6, 3, 3])
    graph = helper.make_graph(nodes, "told", [picture], [out], constants, doc_string="told")
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="told", ir_version=8
    )
    helper.set_model_props(model, {"told": "told"})
    return bytes(model.SerializeToString())


def branch(op: str) -> onnx.GraphProto:
    """A body that uses a value of the graph around it."""
    out = helper.make_tensor_value_info("told", TensorProto.FLOAT, None)
    return helper.make_graph([helper.make_node(op, ["d"], ["told"])], "told", [], [out])


def test_bodies_of_branches_are_renamed_with_the_graph_around_them() -> None:
    after = obfuscate(small_network(), Plan(seed=1))
    assert b"told" not in after
    assert b"/model" not in after


@pytest.mark.parametrize("cut", [0, 5, 20, 400])
@pytest.mark.parametrize("path", [ONNX, LITERT], ids=["onnx", "litert"])
def test_a_cut_file_is_refused_by_name(path: Path, cut: int) -> None:
    with pytest.raises(PackageError):
        obfuscate(path.read_bytes()[:cut], Plan(seed=1))


def test_a_difference_is_found_and_measured() -> None:
    model = onnx.load(ONNX)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float16:
            tensor.CopyFrom(numpy_helper.from_array(values * np.float16(1.01), tensor.name))
            break
    proof = compare(ONNX.read_bytes(), model.SerializeToString(), rounds=0)
    assert proof.different > 0
    assert proof.largest > 0


def test_the_command_writes_the_file_and_a_device_s_detector_still_sees(tmp_path: Path) -> None:
    out = tmp_path / "hidden.onnx"
    result = vigil("release", "obfuscate", str(ONNX), "--out", str(out), "--seed", "5")
    assert result.returncode == 0, result.stderr
    assert "the same bits" in result.stdout
    labels = tmp_path / "labels.txt"
    labels.write_text("bolt\nnut\nwasher\ngear\nbracket\n")
    clip = BUNDLED / "conveyor.mp4"
    stated = ("--family", "ultralytics", "--labels", str(labels), "--task", "detect")
    seen = [
        vigil("detect", str(clip), "--model", str(model), "--json", "--frames", "3", *stated)
        for model in (ONNX, out)
    ]
    found = [re.findall(r'"objects":\[.*?\],"stages', one.stdout) for one in seen]
    assert found[0] == found[1]
    assert len(found[0]) == 3


def test_a_program_can_read_what_obfuscating_changed(tmp_path: Path) -> None:
    out = tmp_path / "hidden.onnx"
    told = answer("release", "obfuscate", ONNX, "--out", out, "--seed", 5)
    assert (told["file"], told["seed"], told["bytes"]) == (str(out), 5, out.stat().st_size)
    assert (told["same_bits"], told["largest_difference"]) == (True, 0.0)
    assert told["bytes_before"] == ONNX.stat().st_size


def test_the_command_refuses_what_is_no_model_and_writes_nothing(tmp_path: Path) -> None:
    rubbish, out = tmp_path / "rubbish.onnx", tmp_path / "out.onnx"
    rubbish.write_bytes(b"rubbish")
    result = vigil("release", "obfuscate", str(rubbish), "--out", str(out))
    assert result.returncode == 1
    assert "package.model" in result.stderr
    assert not out.exists()
