"""Distilled detectors: what a student learns beside a teacher, and what it would have learned alone."""

from __future__ import annotations

import json
import math
from pathlib import Path

from agent.release.optimise.network import load_network
from tests.release.drafts import vigil
from tests.release.networks import needs_torch


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
def test_a_control_says_what_the_teacher_gave(
    checkpoint: Path, data: Path, scene: Path, tmp_path: Path
) -> None:
    truth = ("--dataset", scene / "truth.json", "--images", scene / "pictures")
    course = ("--size", 96, "--data", data, "--epochs", 1, "--control", *truth)
    paths = ("--out", tmp_path / "out.pt", "--json", tmp_path / "steps.json")
    vigil("release", "distil", checkpoint, "--teacher", checkpoint, *course, *paths)
    (told,) = json.loads((tmp_path / "steps.json").read_bytes())["variants"]
    assert [one["step"] for one in told["steps"]] == ["teacher", "student", "alone", "distilled"]


@needs_torch
def test_training_alone_is_training_beside_a_teacher_that_does_not_count(
    checkpoint: Path, data: Path, tmp_path: Path
) -> None:
    from agent.release.optimise.settings import Distillation, Training
    from agent.release.optimise.steps import distilled, trained

    training = Training(data=data.name, batch=4)
    alone, beside, heeded = (tmp_path / f"{name}.pt" for name in ("alone", "beside", "heeded"))
    alone.write_bytes(trained(checkpoint, training, 1, data.parent, 96))
    for made, weight in ((beside, 0.0), (heeded, 1.0)):
        plan = Distillation(epochs=1, classes=weight, boxes=weight, features=weight)
        made.write_bytes(distilled(checkpoint, checkpoint, plan, training, data.parent, 96))
    weights = [load_network(one).state_dict() for one in (alone, beside, heeded)]
    name = "model.23.cv3.0.2.weight"
    assert (weights[0][name] == weights[1][name]).all()
    assert not (weights[0][name] == weights[2][name]).all()
