"""Pruned detectors: really smaller, still detectors, and measured step by step."""

from __future__ import annotations

import json
import math
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from agent.cli.figures import StepFigures, VariantFigures, figures, show_figures
from agent.errors import ConfigError, PackageError
from agent.release.graph_cost import graph_cost
from agent.release.optimise.network import load_network
from agent.schema.messages import StageMs
from agent.vision.evaluation import ClassReport, EvalReport
from tests.release.drafts import BUNDLED, vigil
from tests.release.networks import HAS_TORCH, exported, needs_torch


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


def test_a_litert_file_is_counted_as_its_onnx_file_is() -> None:
    litert, exported = (graph_cost(BUNDLED / f"parts-2.{kind}") for kind in ("tflite", "onnx"))
    assert math.isclose(litert.macs, exported.macs, rel_tol=0.01)
    assert math.isclose(litert.parameters, exported.parameters, rel_tol=0.01)


def test_rubbish_in_a_litert_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.tflite").write_bytes(b"rubbish that is no model" * 9)
    with pytest.raises(PackageError, match=r"bad\.tflite: cannot be read"):
        graph_cost(tmp_path / "bad.tflite")


def test_figures_of_a_step_name_the_class_that_lost_most(tmp_path: Path) -> None:
    file = convolution(tmp_path / "conv.onnx", [8, 8])
    before = report(0.8, {"nut": 0.8, "bolt": 0.8})
    found = figures("pruned", file, report(0.7, {"nut": 0.75, "bolt": 0.6}), before)
    assert (found.drop, found.worst_class, found.worst_drop) == (0.1, "bolt", 0.2)
    assert (found.infer_ms, found.map50_95, found.macs) == (2.0, 0.7, 2304)
    assert not figures("source", file, before, before).worst_class


def test_what_does_not_run_or_cannot_be_counted_is_shown_without_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = convolution(tmp_path / "conv.onnx", ["height", "width"])
    found = figures("int8", file, None, report(0.8, {"nut": 0.8}))
    assert (found.macs, found.infer_ms, found.map50_95, found.drop) == (None,) * 4
    show_figures(
        [VariantFigures(variant="broken", steps=[found], passed=False)], tmp_path / "out.json"
    )
    assert "REFUSED" in capsys.readouterr().err
    assert (tmp_path / "out.png").exists()


def test_figures_are_shown_as_a_table_a_document_and_a_plot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = [
        StepFigures(
            step=step,
            size_bytes=size,
            parameters=1000,
            macs=5_000_000,
            infer_ms=2.0,
            map50_95=0.7,
            map50=0.9,
            drop=0.0,
            worst_class=worst,
        )
        for step, size, worst in (("source", 4000, ""), ("int8", 1000, "bolt"))
    ]
    shown = [VariantFigures(variant="int8-320", steps=steps, passed=True)]
    show_figures(shown, tmp_path / "steps.json")
    (told,) = json.loads((tmp_path / "steps.json").read_bytes())["variants"]
    assert [one["size_bytes"] for one in told["steps"]] == [4000, 1000]
    assert (tmp_path / "steps.png").read_bytes().startswith(b"\x89PNG")
    table = capsys.readouterr().err
    assert all(word in table for word in ("int8-320", "bolt", "passed"))


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("prune", "--ratio", "1.0"), "expected above 0 and below 1"),
        (("prune", "--ratio", "0"), "expected above 0 and below 1"),
        (("prune", "--ratio", "0.5"), "expected a training set"),
        (("prune", "--ratio", "0.5", "--size", "100"), "expected a multiple of 32, found 100"),
        (("prune", "--ratio", "0.5", "--epochs", "0", "--json", "x"), "expected --dataset and"),
        (("distil", "--teacher", "{pt}", "--data", "{pt}", "--control"), "expected --dataset and"),
    ],
)
def test_a_command_that_cannot_be_meant_is_refused(
    tmp_path: Path, command: tuple[str, ...], words: str
) -> None:
    (tmp_path / "a.pt").touch()
    name, *options = (word.format(pt=tmp_path / "a.pt") for word in command)
    paths = (tmp_path / "a.pt", "--out", tmp_path / "out.pt", "--size", 64)
    with pytest.raises(AssertionError, match=words):
        vigil("release", name, *paths, *options)
    assert not (tmp_path / "out.pt").exists()


@pytest.mark.skipif(HAS_TORCH, reason="torch is installed")
def test_without_torch_it_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="torch-pruning") as refusal:
        load_network(tmp_path / "a.pt")
    assert refusal.value.code == "optimise.missing"


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
def test_a_data_set_of_other_classes_is_refused(checkpoint: Path, data: Path) -> None:
    from agent.release.optimise.settings import Pruning, Training
    from agent.release.optimise.steps import pruned

    other = data.with_name("other.yaml")
    other.write_text(data.read_text().replace("bolt", "screw"))
    training = Training(data=other.name, batch=4)
    with pytest.raises(PackageError, match="expected the network's classes"):
        pruned(checkpoint, Pruning(ratio=0.3, epochs=1), training, data.parent, 96)


@needs_torch
def test_labels_of_other_classes_are_refused_before_the_training(
    checkpoint: Path, data: Path, tmp_path: Path
) -> None:
    other = {"images": [], "annotations": [], "categories": [{"id": 0, "name": "screw"}]}
    other["images"] = [{"id": 0, "file_name": "0.png", "width": 96, "height": 96}]
    (tmp_path / "labels.json").write_text(json.dumps(other))
    (tmp_path / "pictures").mkdir()
    cv2.imwrite(str(tmp_path / "pictures/0.png"), np.zeros((96, 96, 3), np.uint8))
    measured = ("--dataset", tmp_path / "labels.json", "--images", tmp_path / "pictures")
    trained = ("--data", data, "--epochs", 1, "--size", 96, "--ratio", 0.3, *measured)
    with pytest.raises(ConfigError, match="screw") as refusal:
        vigil("release", "prune", checkpoint, "--out", tmp_path / "cut.pt", *trained)
    assert refusal.value.code == "dataset.classes"
    assert not (tmp_path / "cut.pt").exists()


@needs_torch
@pytest.mark.parametrize("device", ["cuda:99", "gpu", "0,1", ""])
@pytest.mark.parametrize("step", ["prune", "distil", "qat"])
def test_a_device_that_is_not_there_is_named_before_the_work(
    step: str, device: str, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "rubbish.pt").write_bytes(b"nobody gets as far as to read it")
    line = (tmp_path / "rubbish.pt", "--size", 96, "--data", data, "--out", tmp_path / "out.pt")
    own = {"prune": ("--ratio", 0.3), "distil": ("--teacher", tmp_path / "rubbish.pt"), "qat": ()}
    with pytest.raises(ConfigError, match=f"training device: .*cpu.*found '{device}'") as refusal:
        vigil("release", step, *line, *own[step], "--device", device)
    assert refusal.value.code == "optimise.device"
    assert "data.yaml" not in refusal.value.diagnostics()
    assert not (tmp_path / "out.pt").exists()


@needs_torch
def test_an_exported_file_is_no_checkpoint() -> None:
    with pytest.raises(PackageError, match=r"parts-2\.onnx: expected a checkpoint"):
        load_network(BUNDLED / "parts-2.onnx")


@needs_torch
def test_rubbish_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "bad.pt").write_bytes(b"rubbish")
    with pytest.raises(PackageError, match=r"bad\.pt: cannot be read") as refusal:
        load_network(tmp_path / "bad.pt")
    assert "\n" not in refusal.value.message
