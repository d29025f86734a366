"""Checkpoints (.pt) of ultralytics detectors: read, checked, written."""

from __future__ import annotations

import io
import logging
import pickle
from pathlib import Path
from typing import Any

from agent.errors import ConfigError, PackageError
from agent.release.recipe import CHECKPOINT

_UNREADABLE = (
    RuntimeError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    OSError,
    pickle.UnpicklingError,
)


def require_torch() -> None:
    """Make sure that what this room needs is installed.

    Raises:
        ConfigError: `optimise.missing`.
    """
    try:
        import torch
        import torch_pruning
        import ultralytics
    except ImportError as error:
        raise ConfigError(
            f"pruning and distilling need torch, torch-pruning and ultralytics: {error}",
            code="optimise.missing",
            hint="install the extra `release` (docs/releases.md; ultralytics is AGPL-3.0, see the README)",
        ) from error
    for library in (torch, torch_pruning, ultralytics):
        logging.getLogger(library.__name__).setLevel(logging.ERROR)


def require_device(name: str) -> None:
    """Make sure that torch can train on this device of this machine.

    Args:
        name: As torch names it, cpu or cuda:0; one only.

    Raises:
        ConfigError: `optimise.device`, or the extra is not installed.
    """
    require_torch()
    import torch

    found = ["cpu"]
    if torch.cuda.is_available():
        found += ["cuda", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
    if name not in found:
        raise ConfigError(
            f"training device: expected what torch finds on this machine, {' or '.join(found)}, found {name!r}",
            code="optimise.device",
            hint="name one of these; a GPU that is not found needs its driver, and a torch that was built for it",
        )


def load_network(checkpoint: Path) -> Any:
    """Return the float32 network of a checkpoint, a `DetectionModel` of ultralytics.

    Raises:
        ConfigError: The extra is not installed.
        PackageError: The file is no checkpoint, or not of a detector with one head (YOLOv8, YOLO11).
    """
    require_torch()
    if checkpoint.suffix != CHECKPOINT:
        message = f"{checkpoint}: expected a checkpoint, whose name ends in {CHECKPOINT}"
        raise PackageError(message, code="package.model")
    from ultralytics import YOLO
    from ultralytics.nn.modules import Detect

    try:
        network = YOLO(str(checkpoint)).model.float()
        head = network.model[-1]
    except _UNREADABLE as error:
        why = str(error).partition("\n")[0]
        message = f"{checkpoint}: cannot be read as a checkpoint: {why}"
        raise PackageError(message, code="package.model") from error
    if type(head) is not Detect or getattr(head, "one2one_cv2", None) is not None:
        raise PackageError(
            f"{checkpoint}: expected a detector with one head, as YOLOv8 and YOLO11 are, found {type(head).__name__}",
            code="package.model",
        )
    return network


def checkpoint_of(network: Any) -> bytes:
    """Return the checkpoint of a network: what ultralytics exports and trains on.

    Weights are float16, as ultralytics itself stores them.
    """
    from copy import deepcopy

    import torch

    stored = deepcopy(network).half()
    stored.criterion = None
    for parameter in stored.parameters():
        parameter.requires_grad = False
    file = io.BytesIO()
    torch.save({"model": stored, "train_args": {}}, file)
    return file.getvalue()
