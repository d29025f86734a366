"""Distillation: what a teacher sees in each training picture becomes part of the student's loss.

Three terms, each 0 where the student gives what the teacher gives:

- classes: cross-entropy of the scores of all anchors to the teacher's, less the teacher's own entropy;
- boxes: Kullback-Leibler divergence of the distributions of box sides (arXiv 2102.12252), anchors weighted by the teacher's score;
- features: squared difference of the feature maps that the heads are given, the student's through a 1x1 convolution
  (FitNets, arXiv 1412.6550), by the variance of the teacher's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from agent.errors import PackageError
from agent.release.optimise.settings import Distillation

Raw = Mapping[str, Any]


class Lesson:
    """A teacher and how much it counts.

    Args:
        teacher: A `DetectionModel`; it is only asked.
        student: The `DetectionModel` to train.
        weights: Of the three terms.

    Raises:
        PackageError: Teacher and student have different classes, or different strides or box distributions.
    """

    def __init__(self, teacher: Any, student: Any, weights: Distillation) -> None:
        for what, of in (
            ("classes", lambda one: list(one.names.values())),
            ("strides", lambda one: one.stride.tolist()),
            ("steps of a box side", lambda one: one.model[-1].reg_max),
        ):
            if of(teacher) != of(student):
                raise PackageError(
                    f"expected a teacher with the student's {what}, {of(student)}, found {of(teacher)}",
                    code="package.model",
                )
        self._teacher = teacher.eval().requires_grad_(requires_grad=False)
        self._weights = weights
        self._sides = student.model[-1].reg_max
        pairs = zip(_widths(student), _widths(teacher), strict=True)
        self.adaptors = nn.ModuleList(nn.Conv2d(mine, its, 1) for mine, its in pairs)

    def begin(self, student: Any) -> None:
        """Let the student's loss have the teacher's terms from now on."""
        device = next(student.parameters()).device
        self._teacher.to(device)
        self.adaptors.to(device)
        student.criterion = _Criterion(student.init_criterion(), self)

    def terms(self, seen: Raw, pictures: torch.Tensor) -> torch.Tensor:
        """Return the weighted terms: classes, boxes, features; shape (3,).

        Args:
            seen: The student's undecoded outputs: `boxes` (B, 4 * sides, N), `scores` (B, C, N), `feats` of each level.
            pictures: Shape (B, 3, H, W), RGB in [0, 1].
        """
        with torch.no_grad():
            _, told = self._teacher(pictures)
        weights = self._weights
        adapted = [one(level) for one, level in zip(self.adaptors, seen["feats"], strict=True)]
        return torch.stack(
            [
                weights.classes * class_loss(seen["scores"], told["scores"]),
                weights.boxes * box_loss(seen["boxes"], told["boxes"], told["scores"], self._sides),
                weights.features * feature_loss(adapted, told["feats"]),
            ]
        )


def class_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Return the loss on class logits, both of shape (B, C, N), by the sum of the teacher's scores."""
    wanted = teacher.sigmoid()
    loss = functional.binary_cross_entropy_with_logits
    excess = loss(student, wanted, reduction="sum") - loss(teacher, wanted, reduction="sum")
    return excess / wanted.sum().clamp_min(1.0)


def box_loss(
    student: torch.Tensor, teacher: torch.Tensor, teacher_scores: torch.Tensor, sides: int
) -> torch.Tensor:
    """Return the loss on the distributions of box sides.

    Args:
        student: Logits, shape (B, 4 * sides, N).
        teacher: The same of the teacher.
        teacher_scores: Its class logits, shape (B, C, N): the best of an anchor weighs it.
        sides: Steps of a distribution.
    """
    batch, _, anchors = student.shape
    shape = (batch, 4, sides, anchors)
    mine = student.view(shape).log_softmax(2)
    its = teacher.view(shape).log_softmax(2)
    divergence = (its.exp() * (its - mine)).sum(2).mean(1)
    weight = teacher_scores.sigmoid().amax(1)
    return (divergence * weight).sum() / weight.sum().clamp_min(1.0)


def feature_loss(student: Sequence[torch.Tensor], teacher: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the mean over the levels of the squared difference by the teacher's variance; tensors (B, C, H, W)."""
    return torch.stack(
        [
            functional.mse_loss(mine, its) / its.var().clamp_min(1e-6)
            for mine, its in zip(student, teacher, strict=True)
        ]
    ).mean()


class _Criterion:
    """The student's own loss with the teacher's terms behind it, as ultralytics' trainer calls it."""

    def __init__(self, own: Any, lesson: Lesson) -> None:
        self._own = own
        self._lesson = lesson

    def __call__(self, seen: Any, batch: dict[str, Any]) -> tuple[torch.Tensor, dict[str, Any]]:
        loss, told = self._own(seen, batch)
        pictures = batch["img"]
        terms = self._lesson.terms(self._own.parse_output(seen), pictures)
        named = dict(zip(("class_t", "box_t", "feature_t"), terms.detach(), strict=True))
        # Ultralytics' loss is by batch, too.
        return torch.cat([loss, terms * pictures.shape[0]]), {**told, **named}


def _widths(network: Any) -> list[int]:
    """Return the channels of the feature maps that the head is given."""
    return [branch[0].conv.in_channels for branch in network.model[-1].cv2]
