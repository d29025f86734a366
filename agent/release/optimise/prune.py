"""Structured pruning: channels are taken out, with all that depends on them, so that tensors really get smaller.

Which channels hang together torch-pruning finds by tracing the network (DepGraph, arXiv 2301.12900). Of each group of channels
those go whose weights are smallest over all layers of the group, batch normalisation included.
"""

from __future__ import annotations

from typing import Any

import torch
import torch_pruning
from torch import nn
from ultralytics.nn.modules import C2f, Conv, block

from agent.errors import PackageError

_ATTENTION = (block.Attention, block.C2PSA, block.PSA, block.PSABlock)


def prune(network: Any, ratio: float, size: int) -> None:
    """Take `ratio` of the channels of every layer that may lose some, in place.

    Attention blocks stay whole, for their heads have fixed sizes, and of the detection head what writes classes and boxes.

    Args:
        network: A `DetectionModel`, float32.
        ratio: Share of a layer's channels to take, above 0 and below 1.
        size: Side of the input in pixels.

    Raises:
        PackageError: What is left does not run.
    """
    network.eval()
    for parameter in network.parameters():
        parameter.requires_grad = True
    picture = torch.zeros(1, 3, size, size)
    _divide(network)
    head = network.model[-1]
    try:
        # In training the head gives what its layers wrote, undecoded.
        head.training = True
        pruner = torch_pruning.pruner.BasePruner(
            network,
            picture,
            importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
            pruning_ratio=ratio,
            ignored_layers=_kept(network),
            in_channel_groups={},
            out_channel_groups={},
        )
        pruner.step()
        head.training = False
        _join(network)
        with torch.no_grad():
            network(picture)
    except (RuntimeError, IndexError, ValueError) as error:
        why = str(error).partition("\n")[0]
        raise PackageError(f"cannot be pruned by {ratio}: {why}", code="package.model") from error


def _kept(network: Any) -> list[nn.Module]:
    head = network.model[-1]
    final = [branch[-1] for branch in (*head.cv2, *head.cv3)]
    return [part for part in network.modules() if isinstance(part, _ATTENTION)] + [head.dfl, *final]


class _Halves(nn.Module):  # type: ignore[misc] # the library is untyped
    """A C2f whose first convolution is two, one for each half of what it splits.

    torch-pruning cannot follow a split whose halves lose different channels. As layers of their own both lose as many, so that
    they can be joined again.
    """

    def __init__(self, whole: C2f) -> None:
        super().__init__()
        self.whole = [whole]  # in a list: not a part of this module
        self.first, self.second = (_half(whole.cv1, number) for number in range(2))
        self.m, self.cv2 = whole.m, whole.cv2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = [self.first(x), self.second(x)]
        parts.extend(part(parts[-1]) for part in self.m)
        return self.cv2(torch.cat(parts, 1))


def _divide(network: Any) -> None:
    for name, part in list(network.named_modules()):
        if isinstance(part, C2f) and not any(isinstance(one, _ATTENTION) for one in part.modules()):
            _replace(network, name, part, _Halves(part))


def _join(network: Any) -> None:
    for name, part in list(network.named_modules()):
        if isinstance(part, _Halves):
            (whole,) = part.whole
            whole.cv1 = _joined(part.first, part.second)
            whole.c = whole.cv1.conv.out_channels // 2
            _replace(network, name, part, whole)


def _replace(network: Any, name: str, old: Any, new: Any) -> None:
    parent, _, last = name.rpartition(".")
    # Where ultralytics keeps a layer's inputs and number.
    for known in ("f", "i", "type"):
        if hasattr(old, known):
            setattr(new, known, getattr(old, known))
    setattr(network.get_submodule(parent), last, new)


def _half(conv: Any, number: int) -> Any:
    channels = conv.conv.out_channels // 2
    part = slice(number * channels, (number + 1) * channels)
    state = {name: value[part] for name, value in conv.state_dict().items() if value.ndim}
    return _conv_like(conv, channels, state)


def _joined(first: Any, second: Any) -> Any:
    if first.conv.out_channels != second.conv.out_channels:
        raise ValueError("the halves of a block lost different numbers of channels")
    other = second.state_dict()
    state = {
        name: torch.cat([value, other[name]])
        for name, value in first.state_dict().items()
        if value.ndim
    }
    return _conv_like(first, 2 * first.conv.out_channels, state)


def _conv_like(conv: Any, channels: int, state: dict[str, torch.Tensor]) -> Any:
    """Return a convolution with the kernel, normalisation and activation of `conv`, and the tensors of `state`."""
    made = Conv(conv.conv.in_channels, channels, conv.conv.kernel_size[0])
    made.load_state_dict(state, strict=False)
    made.act, made.bn.eps, made.bn.momentum = conv.act, conv.bn.eps, conv.bn.momentum
    return made.eval()
