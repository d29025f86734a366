"""Pruned and distilled detectors: really smaller, still detectors, and measured step by step."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from agent.cli.optimise import show_steps
from agent.cli.steps import StepFigures, figures
from agent.errors import ConfigError, PackageError
from agent.release.graph_cost import graph_cost
from agent.release.optimise.network import load_network
from agent.schema.messages import StageMs
from agent.vision.evaluation import ClassReport, EvalReport
from tests.release.drafts import BUNDLED, vigil

ROOT = Path(__file__).parents[2]
HAS_TORCH = all(
    importlib.util.find_spec(name) for name in ("torch", "torch_pruning", "ultralytics")
)
needs_torch = pytest.mark.skipif(
    not HAS_TORCH, reason="torch, torch-pruning or ultralytics is not installed (extra `release`)"
)


def convolution(path: Path, sides: list[int | str]) -> Path:
    """A 3x3 convolution from 2 to 4 channels in two groups, with bias."""
    weight = numpy_helper.from_array(np.ones((4, 1, 3, 3), np.float32), "w")
    bias = numpy_helper.from_array(np.ones(4, np.float32), "b")
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], group=2, pads=[1, 1, 1, 1])
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, *sides])
        for name, channels in (("x", 2), ("y", 4))
    ]
    graph = helper.make_graph([node], "g", ends[:1], ends[1:], [weight, bias])
    onnx.save(helper.make_model(graph), path)
    return path


def report(map50_95: float, by_class: dict[str, float]) -> EvalReport:
    classes = [
        ClassReport(label=label, objects=60, map50_95=value, map50=value)
        for label, value in by_class.items()
    ]
    stages = {"infer": StageMs(p50=2.0, p95=3.0, p99=4.0)}
    return EvalReport(10, 60, 0.005, 0.6, map50_95, 0.9, classes, stages)


def test_a_convolution_costs_what_it_multiplies(tmp_path: Path) -> None:
    cost = graph_cost(convolution(tmp_path / "conv.onnx", [8, 8]))
    assert cost.parameters == 4 * 1 * 9 + 4
    assert cost.macs == 4 * 8 * 8 * 9


def test_a_network_without_a_fixed_size_is_not_counted(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="no fixed output shape"):
        graph_cost(convolution(tmp_path / "conv.onnx", ["height", "width"]))


def test_weights_stored_in_another_format_are_counted() -> None:
    cost = graph_cost(BUNDLED / "parts-2.onnx")
    assert 500_000 < cost.parameters < 530_000
    assert 240e6 < cost.macs < 280e6


def test_figures_of_a_step_name_the_class_that_lost_most(tmp_path: Path) -> None:
    file = convolution(tmp_path / "conv.onnx", [8, 8])
    before = report(0.8, {"nut": 0.8, "bolt": 0.8})
    found = figures("v", "pruned", file, report(0.7, {"nut": 0.75, "bolt": 0.6}), before)
    assert (found.worst_class, found.worst_drop) == ("bolt", 0.2)
    assert (found.infer_ms, found.map50_95, found.macs) == (2.0, 0.7, 2304)
    assert not figures("v", "source", file, before, None).worst_class


def test_steps_are_kept_as_a_document_and_a_plot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = [
        StepFigures(
            of="int8-320",
            step=step,
            size_bytes=size,
            parameters=1000,
            macs=5_000_000,
            infer_ms=2.0,
            map50_95=0.7,
            map50=0.9,
            worst_class=worst,
        )
        for step, size, worst in (("source", 4000, ""), ("int8", 1000, "bolt"))
    ]
    show_steps(steps, tmp_path / "steps.json")
    told = json.loads((tmp_path / "steps.json").read_bytes())["steps"]
    assert [one["size_bytes"] for one in told] == [4000, 1000]
    assert (tmp_path / "steps-int8-320.png").read_bytes().startswith(b"\x89PNG")
    assert "bolt" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("prune", "--ratio", "1.0"), "expected above 0 and below 1"),
        (("prune", "--ratio", "0"), "expected above 0 and below 1"),
        (("prune", "--ratio", "0.5"), "expected a training set"),
    ],
)
def test_a_command_that_cannot_be_meant_is_refused(
    tmp_path: Path, command: tuple[str, ...], words: str
) -> None:
    (tmp_path / "a.pt").touch()
    paths = (tmp_path / "a.pt", "--out", tmp_path / "out.pt", "--size", 64)
    with pytest.raises(AssertionError, match=words):
        vigil("release", *command, *paths)
    assert not (tmp_path / "out.pt").exists()


@pytest.mark.skipif(HAS_TORCH, reason="torch is installed")
def test_without_torch_it_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="torch-pruning") as refusal:
        load_network(tmp_path / "a.pt")
    assert refusal.value.code == "optimise.missing"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A YOLO11 with attention and random weights."""
    from ultralytics import YOLO

    path = tmp_path_factory.mktemp("network") / "parts.pt"
    yolo = YOLO(str(ROOT / "scripts/demo_model/parts-yolo11.yaml"), task="detect")
    yolo.model.names = dict(enumerate(("bolt", "nut", "washer", "gear", "bracket")))
    yolo.save(str(path))
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight labelled pictures of 96 x 96."""
    import cv2

    folder = tmp_path_factory.mktemp("data")
    for name in ("images", "labels"):
        (folder / name).mkdir()
    noise = np.random.default_rng(0)
    for number in range(8):
        picture = noise.integers(0, 255, (96, 96, 3), np.uint8)
        cv2.imwrite(str(folder / f"images/{number}.png"), picture)
        (folder / f"labels/{number}.txt").write_text(f"{number % 5} 0.5 0.5 0.4 0.4\n")
    names = "[bolt, nut, washer, gear, bracket]"
    text = f"path: {folder}\ntrain: images\nval: images\nnames: {names}\n"
    (folder / "data.yaml").write_text(text)
    return folder / "data.yaml"


def exported(checkpoint: bytes, folder: Path) -> Path:
    from agent.release.export import export_checkpoint
    from agent.schema.values import BackendName, Precision

    (folder / "made.pt").write_bytes(checkpoint)
    file = folder / "made.onnx"
    made = export_checkpoint(folder / "made.pt", BackendName.ONNXRUNTIME, Precision.FP32, 96)
    file.write_bytes(made)
    return file


@needs_torch
def test_dividing_and_joining_blocks_changes_nothing(checkpoint: Path) -> None:
    import torch

    from agent.release.optimise import prune

    network = load_network(checkpoint).eval()
    picture = torch.rand(1, 3, 96, 96)
    with torch.no_grad():
        before = network(picture)[0]
        prune._divide(network)
        divided = network(picture)[0]
        prune._join(network)
        joined = network(picture)[0]
    assert torch.allclose(before, divided, atol=1e-4)
    assert torch.allclose(before, joined, atol=1e-4)


@needs_torch
def test_a_pruned_network_is_smaller_trained_and_runs_in_vigil(
    checkpoint: Path, data: Path, tmp_path: Path
) -> None:
    from agent.release.optimise.settings import Pruning, Training
    from agent.release.optimise.steps import pruned
    from agent.vision.detector import load_detector

    training = Training(data=data.name, batch=4)
    made = pruned(checkpoint, Pruning(ratio=0.5, epochs=1), training, data.parent, 96)
    smaller = graph_cost(exported(made, tmp_path))
    before = load_network(checkpoint)
    after = load_network(tmp_path / "made.pt")
    assert smaller.parameters < 0.4 * sum(one.numel() for one in before.parameters())
    detector = load_detector(tmp_path / "made.onnx")
    detector.detect(np.zeros((96, 96, 3), np.uint8))
    for kept in ("10.m.0.attn.qkv.conv", "10.m.0.ffn.0.conv", "23.dfl.conv", "23.cv2.0.2"):
        name = f"model.{kept}"
        left = after.get_submodule(name).out_channels
        assert left == before.get_submodule(name).out_channels, name


@needs_torch
def test_a_cut_network_learns_beside_its_teacher(
    checkpoint: Path, data: Path, tmp_path: Path
) -> None:
    from agent.release.optimise.settings import Distillation, Pruning, Training
    from agent.release.optimise.steps import distilled, pruned

    cut = tmp_path / "cut.pt"
    cut.write_bytes(pruned(checkpoint, Pruning(ratio=0.3, epochs=0), None, data.parent, 96))
    training = Training(data=data.name, batch=4)
    made = distilled(cut, checkpoint, Distillation(epochs=1), training, data.parent, 96)
    (tmp_path / "made.pt").write_bytes(made)
    before, after = load_network(cut), load_network(tmp_path / "made.pt")
    shapes = [value.shape for value in before.state_dict().values()]
    assert [value.shape for value in after.state_dict().values()] == shapes
    weight = "model.0.conv.weight"
    assert not (before.state_dict()[weight] == after.state_dict()[weight]).all()


@needs_torch
def test_losses_are_nothing_for_a_student_that_is_its_teacher() -> None:
    import torch

    from agent.release.optimise.distil import box_loss, class_loss, feature_loss

    torch.manual_seed(0)
    scores, boxes, level = torch.randn(2, 5, 21), torch.randn(2, 64, 21), torch.randn(2, 8, 4, 4)
    assert math.isclose(float(class_loss(scores, scores)), 0.0, abs_tol=1e-6)
    assert math.isclose(float(box_loss(boxes, boxes, scores, 16)), 0.0, abs_tol=1e-6)
    assert math.isclose(float(feature_loss([level], [level])), 0.0, abs_tol=1e-6)
    assert float(class_loss(-scores, scores)) > 0.1
    assert float(box_loss(-boxes, boxes, scores, 16)) > 0.1
    assert float(feature_loss([-level], [level])) > 0.1


@needs_torch
def test_a_data_set_of_other_classes_is_refused(checkpoint: Path, data: Path) -> None:
    from agent.release.optimise.settings import Pruning, Training
    from agent.release.optimise.steps import pruned

    other = data.with_name("other.yaml")
    other.write_text(data.read_text().replace("bolt", "screw"))
    training = Training(data=other.name, batch=4)
    with pytest.raises(PackageError, match="expected the network's classes"):
        pruned(checkpoint, Pruning(ratio=0.3, epochs=1), training, data.parent, 96)


@needs_torch
def test_rubbish_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "bad.pt").write_bytes(b"rubbish")
    with pytest.raises(PackageError, match=r"bad\.pt: cannot be read") as refusal:
        load_network(tmp_path / "bad.pt")
    assert "\n" not in refusal.value.message
