"""Quantisation-aware training: convolutions compute as their INT8 will, while gradients go straight through (arXiv 1712.05877).

Values are rounded where `agent.release.quantise` will round them: weights channel by channel (int8, symmetric), and tensor by tensor
(uint8) what goes into a convolution, what comes out of it behind its batch normalisation, which the export folds into it, and
the sigmoid and the product of its SiLU.
Folding multiplies a channel's weights by one number and so its scale, too: weights are rounded alike before and after. Normalisations
keep their statistics, so that training begins with the network as it is exported.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.ao.nn import qat
from torch.ao.quantization import (
    FakeQuantize,
    MovingAveragePerChannelMinMaxObserver,
    QConfig,
    default_fused_act_fake_quant,
)
from ultralytics.nn.modules import Conv

_INT8 = QConfig(
    activation=default_fused_act_fake_quant,
    weight=FakeQuantize.with_args(
        observer=MovingAveragePerChannelMinMaxObserver,
        # Weights are known, so there is nothing to average; torch's least scale is too coarse before folding.
        averaging_constant=1.0,
        eps=torch.finfo(torch.float32).tiny,
        dtype=torch.qint8,
        quant_min=-127,
        quant_max=127,
        qscheme=torch.per_channel_symmetric,
    ),
)


def imitate_int8(network: Any) -> None:
    """Let every convolution that is trained compute as INT8 from now on, in place; its parameters stay the same objects.

    Args:
        network: A `DetectionModel` on the device that it is trained on.
    """
    blocks = [part for part in network.modules() if isinstance(part, Conv)]
    ends = {part.conv: part.bn for part in blocks}
    for part in blocks:
        if type(part.act) is nn.SiLU and part.conv.weight.requires_grad:
            part.act = _Silu().to(part.conv.weight.device)
    for name, conv in list(network.named_modules()):
        if type(conv) is nn.Conv2d and conv.weight.requires_grad:
            parent, _, last = name.rpartition(".")
            rounded = _rounded(conv, ends.get(conv))
            setattr(network.get_submodule(parent), last, rounded)


class _Silu(nn.Module):  # type: ignore[misc] # the library is untyped
    def __init__(self) -> None:
        super().__init__()
        self.gate, self.product = _INT8.activation(), _INT8.activation()

    def forward(self, values: Any) -> Any:
        return self.product(values * self.gate(torch.sigmoid(values)))


def _rounded(conv: Any, normalisation: Any) -> Any:
    device = conv.weight.device
    conv.qconfig = _INT8
    rounded = qat.Conv2d.from_float(conv)
    rounded.before = _INT8.activation()
    rounded.register_forward_pre_hook(lambda module, inputs: module.before(inputs[0]))
    end = rounded
    if normalisation is not None:
        end = normalisation
        end.register_forward_pre_hook(_keep_statistics)
    end.behind = _INT8.activation().to(device)
    end.register_forward_hook(lambda module, _, output: module.behind(output))
    return rounded.to(device)


def _keep_statistics(normalisation: Any, _: Any) -> None:
    # In a hook, for the trainer sets all modules to training before every epoch.
    normalisation.training = False
