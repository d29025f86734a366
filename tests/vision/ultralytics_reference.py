"""Run by an interpreter that has ultralytics: `ultralytics_reference.py NETWORK TASK SIZE FOLDER`.

Writes a randomly initialised network as `model.onnx`, a picture as `picture.png`, and what ultralytics' own
predict finds with that file as `reference.npz`. The last layers are rescaled so that scores, boxes and extras
spread over their whole ranges, which random weights alone do not give. A yolo26 is exported end to end.
"""

import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from ultralytics import YOLO
from ultralytics.data.augment import LetterBox
from ultralytics.utils import ASSETS

CONFIDENCE, IOU = 0.25, 0.6
END_TO_END = "yolo26n"
SUFFIXES = {"detect": "", "classify": "-cls", "pose": "-pose", "segment": "-seg", "obb": "-obb"}


def spread(layer: torch.nn.Module, seen: torch.Tensor, mean: float, deviation: float) -> None:
    """Rescale a last layer so that its outputs have this mean and deviation on the picture."""
    axes = tuple(axis for axis in range(seen.ndim) if axis != 1)
    if seen.ndim == 2:  # a classifier: over classes
        factor, middle = deviation / seen.std(), seen.mean()
    else:
        factor, middle = deviation / seen.std(axes), seen.mean(axes)
    layer.weight.data *= factor.reshape(-1, *[1] * (layer.weight.ndim - 1))
    layer.bias.data = (layer.bias.data - middle) * factor + mean


def last_layers(head: torch.nn.Module) -> list[tuple[torch.nn.Module, float, float]]:
    if hasattr(head, "linear"):
        return [(head.linear, 0.0, 2.0)]
    final = head.end2end
    names = [f"one2one_{name}" if final else name for name in ("cv2", "cv3", "cv4")]
    boxes, scores, extras = (getattr(head, name, None) or () for name in names)
    layers = [(branch[-1], 3.0 if final else 0.0, 2.0) for branch in boxes]
    # A list of final boxes holds the best of all anchors, so fewer of them may score.
    layers += [(branch[-1], -8.5 if final else -5.0, 1.5) for branch in scores]
    # The last layers of yolo26's key points are elsewhere, and random enough.
    return layers + [(branch[-1], 0.0, 1.0) for branch in extras if hasattr(branch[-1], "weight")]


def calibrate(network: torch.nn.Module, images: torch.Tensor) -> None:
    """Let every normalisation layer know the statistics of these images, as training would."""
    layers = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    momenta = [layer.momentum for layer in layers]
    network.train()
    for layer in layers:
        layer.momentum = 1.0
    network(images)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    network.eval()


def random_model(network: str, task: str, size: int, picture: np.ndarray) -> YOLO:
    torch.manual_seed(7)
    model = YOLO(f"{network}{SUFFIXES[task]}.yaml", task=task)
    if network == END_TO_END:
        model.model.end2end = True
    small = LetterBox((size, size), auto=False)(image=picture)[:, :, ::-1].astype(np.float32) / 255
    image = torch.from_numpy(np.ascontiguousarray(small.transpose(2, 0, 1)))[None]
    # A detector is warmed up on a black picture, which must not look like objects everywhere.
    views = [image, image.flip(2), image.flip(3), image * 0]
    seen: dict[torch.nn.Module, torch.Tensor] = {}
    layers = last_layers(model.model.model[-1])
    with torch.no_grad():
        calibrate(model.model, torch.cat(views))
        hooks = [
            layer.register_forward_hook(lambda module, _, result: seen.update({module: result}))
            for layer, _, _ in layers
        ]
        model.model(torch.cat([image, image * 0]))
    for hook in hooks:
        hook.remove()
    for layer, mean, deviation in layers:
        spread(layer, seen[layer], mean, deviation)
    return model


def facts(task: str, result: Any) -> dict[str, Any]:
    if task == "classify":
        return {"probabilities": result.probs.data.numpy()}
    found = result.obb if task == "obb" else result.boxes
    values = {"boxes": found.xyxy, "scores": found.conf, "labels": found.cls}
    if task == "obb":
        values |= {"corners": found.xyxyxyxy}
    if task == "pose":
        values |= {"keypoints": result.keypoints.data}
    if task == "segment":
        values |= {"masks": result.masks.data}
    return {name: value.numpy() for name, value in values.items()}


def main(network: str, task: str, size: int, folder: Path) -> None:
    picture = cv2.imread(str(ASSETS / "bus.jpg"))
    assert picture is not None
    cv2.imwrite(str(folder / "picture.png"), picture)
    model = random_model(network, task, size, picture)
    final = {"nms": False} if network == END_TO_END else {}
    exported = model.export(format="onnx", imgsz=size, simplify=False, opset=17, **final)
    Path(exported).rename(folder / "model.onnx")
    reference = YOLO(str(folder / "model.onnx"), task=task)
    results = reference.predict(
        folder / "picture.png", conf=CONFIDENCE, iou=IOU, imgsz=size, verbose=False, device="cpu"
    )
    np.savez(folder / "reference.npz", **facts(task, results[0]))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
