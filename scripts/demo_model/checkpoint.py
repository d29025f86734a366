"""Take an exported ONNX file back into a checkpoint that can be trained on: the same network, to the last digits.

checkpoint.py MODEL.onnx STILLS OUT.pt [ARCHITECTURE.yaml]

MODEL is one of the bundled files, or what ultralytics exported of ARCHITECTURE, `yolo11n.yaml` for one; STILLS/images holds pictures.

The export folded every batch normalisation into the convolution before it. Here each gets a normalisation again whose running
mean and variance are those of its convolution's outputs on the stills, and whose scale and shift undo them: inference gives what it
gave, and training starts from statistics that fit.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import torch
from onnx import numpy_helper
from ultralytics import YOLO
from ultralytics.nn.modules import Conv

SIZE = 320
STILLS = 64
ARCHITECTURE = Path(__file__).with_name("parts-yolo11.yaml")


def restore(file: Path, stills: Path, architecture: str = str(ARCHITECTURE)) -> YOLO:
    """Build the architecture and fill it with the file's weights."""
    exported = onnx.load(str(file))
    tensors = {
        one.name.removesuffix("/half").removesuffix("_quantized_f32"): torch.from_numpy(
            numpy_helper.to_array(one).astype(np.float32).copy()
        )
        for one in exported.graph.initializer
    }
    yolo = YOLO(architecture, task="detect")
    network = yolo.model.eval()
    for name, parameter in network.named_parameters():
        if (value := tensors.get(name)) is not None:
            parameter.data.copy_(value)
        elif ".bn." not in name:
            raise SystemExit(f"{file}: expected a tensor {name}, found none")
    blocks = {name: part for name, part in network.named_modules() if isinstance(part, Conv)}
    for name, block in blocks.items():
        _pass_through(block.bn, tensors[f"{name}.conv.bias"])
    for name, (mean, variance) in _statistics(network, blocks, stills).items():
        bn = blocks[name].bn
        bn.running_mean.copy_(mean)
        bn.running_var.copy_(variance)
        bn.weight.data.copy_(torch.sqrt(variance + bn.eps))
        bn.bias.data.copy_(tensors[f"{name}.conv.bias"] + mean)
    names = next(entry.value for entry in exported.metadata_props if entry.key == "names")
    network.names = ast.literal_eval(names)
    return yolo


def _pass_through(bn: Any, bias: torch.Tensor) -> None:
    bn.running_mean.zero_()
    bn.running_var.fill_(1.0 - bn.eps)
    bn.weight.data.fill_(1.0)
    bn.bias.data.copy_(bias)


def _statistics(
    network: torch.nn.Module, blocks: dict[str, Any], stills: Path
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Mean and variance by channel of what each convolution gives on the stills."""
    sums: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {name: [] for name in blocks}

    def note(name: str) -> Any:
        def hook(_: Any, __: Any, output: torch.Tensor) -> None:
            sums[name].append((output.mean((0, 2, 3)), output.square().mean((0, 2, 3))))

        return hook

    handles = [block.conv.register_forward_hook(note(name)) for name, block in blocks.items()]
    with torch.no_grad():
        for path in sorted((stills / "images").glob("*.jpg"))[:STILLS]:
            read = cv2.imread(str(path))
            if read is None:
                raise SystemExit(f"{path}: cannot be read as a picture")
            picture = cv2.resize(read, (SIZE, SIZE))[:, :, ::-1]
            values = np.ascontiguousarray(picture.transpose(2, 0, 1), np.float32) / 255
            network(torch.from_numpy(values)[None])
    for handle in handles:
        handle.remove()
    found = {}
    for name, pairs in sums.items():
        mean, square = (torch.stack(part).mean(0) for part in zip(*pairs, strict=True))
        found[name] = (mean, (square - mean.square()).clamp_min(1e-6))
    return found


if __name__ == "__main__":
    model, stills, out, *other = sys.argv[1:]
    restore(Path(model), Path(stills), *other).save(out)
