"""Training with quantisation in mind: it sees what INT8 will lose, and leaves an ordinary checkpoint."""

from __future__ import annotations

import json
import runpy
import shutil
from copy import deepcopy
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper

from agent.cli.recipe import make_draft
from agent.release.graph_cost import graph_cost
from agent.release.optimise.network import load_network
from agent.release.optimise.settings import Awareness
from tests.release.drafts import BUNDLED
from tests.release.networks import exported, needs_torch

SCRIPTS = Path(__file__).parents[2] / "scripts/demo_model"


@pytest.mark.parametrize(
    ("limit", "drop", "expected"),
    [(None, 0.02, "not due"), (None, 0.021, "due"), (0.005, 0.006, "due"), (0.05, 0.04, "not due")],
)
def test_training_for_int8_is_due_where_the_loss_exceeds_its_limit_or_else_the_budget(
    limit: float | None, drop: float, expected: str
) -> None:
    found = Awareness(if_drop_over=limit).is_due(drop, max_drop=0.02)
    assert found == (expected == "due")


@needs_torch
def test_a_convolution_trained_for_int8_gives_what_its_int8_file_gives(tmp_path: Path) -> None:
    """Before its batch normalisation is folded into it; so training sees what will be lost."""
    import onnxruntime
    import torch
    from torch.ao.quantization import disable_fake_quant, disable_observer, enable_fake_quant
    from ultralytics.nn.modules import Conv
    from ultralytics.utils.torch_utils import fuse_conv_and_bn

    from agent.release.optimise.aware import imitate_int8
    from agent.release.quantise import Quantiser

    torch.manual_seed(0)
    network = torch.nn.Sequential(Conv(3, 4, 3)).eval()
    block = network[0]
    block.bn.running_mean.normal_()
    block.bn.running_var.uniform_(0.2, 4.0)
    # A channel whose factor is negative turns its weights' signs.
    block.bn.weight.data.copy_(torch.tensor([-2.0, 0.001, 0.5, 1.0]))
    picture = torch.rand(1, 3, 16, 16) * 2 - 0.3
    with torch.no_grad():
        exact = network(picture).numpy()
    folded = fuse_conv_and_bn(deepcopy(block.conv), deepcopy(block.bn))
    path = tmp_path / "block.onnx"
    onnx.save(block_file(folded.weight.detach().numpy(), folded.bias.detach().numpy()), path)
    with Quantiser(path, [picture.numpy()], "minmax") as quantiser:
        # Where a CPU lacks VNNI sums of products would be clamped at 16 bits otherwise.
        exactly = onnxruntime.SessionOptions()
        exactly.add_session_config_entry("session.x64quantprecision", "1")
        session = onnxruntime.InferenceSession(quantiser.quantise(), exactly)
    (int8,) = session.run(None, {"x": picture.numpy()})
    imitate_int8(network)
    # Ranges as calibration finds them: of what is not rounded.
    network.apply(disable_fake_quant)
    with torch.no_grad():
        network(picture)
        network.apply(enable_fake_quant)
        network.apply(disable_observer)
        imitated = network(picture).numpy()
    lost = float(np.abs(int8 - exact).mean())
    assert lost > 1e-4
    assert float(np.abs(imitated - int8).mean()) < 0.1 * lost


def block_file(weight: np.ndarray, bias: np.ndarray) -> onnx.ModelProto:
    """A convolution with SiLU behind it."""
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Sigmoid", ["c"], ["s"], name="sigmoid"),
        helper.make_node("Mul", ["c", "s"], ["y"], name="mul"),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, 16, 16])
        for name, channels in (("x", 3), ("y", 4))
    ]
    stored = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@needs_torch
def test_gradients_go_straight_through_the_rounding() -> None:
    import torch
    from ultralytics.nn.modules import Conv

    from agent.release.optimise.aware import imitate_int8

    network = torch.nn.Sequential(Conv(3, 4, 3))
    weight = network[0].conv.weight
    imitate_int8(network)
    network(torch.rand(1, 3, 16, 16)).sum().backward()
    assert network[0].conv.weight is weight
    assert float(weight.grad.abs().min()) > 0.0


@needs_torch
def test_training_for_int8_leaves_an_ordinary_float_checkpoint(
    checkpoint: Path, data: Path, tmp_path: Path
) -> None:
    from agent.release.optimise.settings import Awareness, Training
    from agent.release.optimise.steps import aware

    training = Training(data=data.name, batch=4)
    made = aware(checkpoint, Awareness(epochs=1), training, data.parent, 96)
    (tmp_path / "made.pt").write_bytes(made)
    before, after = (load_network(one).state_dict() for one in (checkpoint, tmp_path / "made.pt"))
    assert {name: value.shape for name, value in after.items()} == {
        name: value.shape for name, value in before.items()
    }
    weight = "model.0.conv.weight"
    assert not (before[weight] == after[weight]).all()
    assert graph_cost(exported(made, tmp_path)).macs > 0


@pytest.fixture(scope="module")
def trained(scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the bundled detector as a checkpoint, a few stills to train on and the scene to judge on."""
    folder = tmp_path_factory.mktemp("trained")
    shutil.copytree(scene, folder, dirs_exist_ok=True)
    stills, checkpoint = (
        runpy.run_path(str(SCRIPTS / f"{name}.py")) for name in ("stills", "checkpoint")
    )
    stills["write"](folder / "stills", 8)
    restored = checkpoint["restore"](BUNDLED / "parts-2.onnx", folder / "stills")
    restored.save(str(folder / "parts.pt"))
    return folder


@needs_torch
@pytest.mark.parametrize(
    ("limit", "steps"),
    [(0.002, ["source", "int8 untrained", "aware", "int8"]), (0.9, ["source", "int8"])],
)
def test_a_recipe_trains_for_int8_only_what_loses_too_much(
    trained: Path, limit: float, steps: list[str]
) -> None:
    lenient = {"max_drop": 0.5, "max_class_drop": 1.0, "min_match": 0.1}
    variant = {
        "id": "int8",
        "source": "parts.pt",
        "size": 320,
        "memory_mb": 256,
        "quantise": {"aware": {"epochs": 1, "rate": 0.00001, "if_drop_over": limit}},
        "budget": lenient,
    }
    recipe = {
        "schema": 1,
        "name": "parts",
        "version": "1.0",
        "class": "gate",
        "counter": 1,
        "validation": {"dataset": "truth.json", "images": "pictures"},
        "calibration": {"source": "pictures", "pictures": 4},
        "training": {"data": "stills/data.yaml", "batch": 4},
        "golden": {"images": ["pictures/000.png"]},
        "variants": [variant],
    }
    (trained / "release.yaml").write_text(yaml.safe_dump(recipe))
    make_draft(trained / "release.yaml")
    (told,) = json.loads((trained / ".vigil-build/variants.json").read_bytes())["variants"]
    assert [one["step"] for one in told["steps"]] == steps
