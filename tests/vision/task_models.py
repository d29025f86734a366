"""Tiny models of every task that find the same on every picture, with the metadata that says what they are."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.vision import models
from tests.vision.heads import MASKS, SIDE, anchors, prototypes

BOX = (32, 32, 40, 20, 1, 0.9)  # green
OUTPUTS: dict[str, list[np.ndarray]] = {
    "pose": [anchors(6, (*BOX, 20, 30, 0.9, 40, 34, 0.2))],
    "segment": [anchors(MASKS, (*BOX, 0, 1, 0, 0)), prototypes()],
    "obb": [anchors(1, (*BOX, 0.0))],
    "classify": [np.array([[0.1, 0.7, 0.2]], np.float32)],
}


def metadata(task: str) -> dict[str, str]:
    shape = {"kpt_shape": "[2, 3]"} if task == "pose" else {}
    return models.METADATA | {"task": task, "imgsz": f"[{SIDE}, {SIDE}]"} | shape


def task_model(task: str, texts: dict[str, str] | None = None) -> bytes:
    """NCHW RGB of 64 x 64 in, the outputs of `OUTPUTS` out."""
    constants = [numpy_helper.from_array(np.zeros((1, 3, 1, 1), np.float32), "zero")]
    nodes = [
        helper.make_node("GlobalAveragePool", ["images"], ["mean"]),
        helper.make_node("Mul", ["mean", "zero"], ["nothings"]),
        helper.make_node("ReduceSum", ["nothings"], ["nothing"], keepdims=0),
    ]
    results = []
    for number, values in enumerate(OUTPUTS[task]):
        constants.append(numpy_helper.from_array(values, f"values{number}"))
        nodes.append(helper.make_node("Add", [f"values{number}", "nothing"], [f"output{number}"]))
        results.append(
            helper.make_tensor_value_info(f"output{number}", TensorProto.FLOAT, values.shape)
        )
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIDE, SIDE])
    graph = helper.make_graph(nodes, task, [image], results, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    helper.set_model_props(model, metadata(task) if texts is None else texts)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
