"""Fine-tuning by ultralytics' own trainer, of the network as it is: a pruned one is not in any architecture file."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ultralytics.models.yolo.detect import DetectionTrainer

from agent.errors import PackageError
from agent.release.optimise.network import load_network
from agent.release.optimise.settings import Training


@dataclass(frozen=True)
class Change:
    """What a network is trained with and does without afterwards.

    Attributes:
        begin: Called with the network when training starts, to change it in place; its parameters stay the same objects.
        learned_too: Further parameters to train.
    """

    begin: Callable[[Any], None]
    learned_too: Iterable[Any] = ()


def fine_tune(
    network: Any,
    data: Path,
    training: Training,
    epochs: int,
    size: int,
    change: Change | None = None,
) -> Any:
    """Train a network and return the average of its weights as an ordinary float32 network.

    Args:
        network: A `DetectionModel`; it is changed.
        data: The data set (YAML).
        training: How it is trained; its own `data` is not read.
        epochs: At least 1.
        size: Side of the input in pixels.
        change: What is trained with, and not in what is returned.

    Raises:
        PackageError: The data set cannot be used, its classes are not the network's, or training fails.
    """
    with tempfile.TemporaryDirectory(prefix="vigil-train-") as folder:
        try:
            trainer = _Trainer(overrides=_overrides(data, training, epochs, size, Path(folder)))
            trainer.begin_with(network, change)
            if list(trainer.data["names"].values()) != list(network.names.values()):
                raise PackageError(
                    f"{data}: expected the network's classes {list(network.names.values())}, found {list(trainer.data['names'].values())}",
                    code="package.model",
                )
            trainer.train()
        except (RuntimeError, ValueError, OSError, KeyError) as error:
            # Before the mark ultralytics repeats the path.
            why = str(error).partition("\n")[0].rpartition("❌ ")[2]
            message = f"training on {data} ({training.device}) failed: {why}"
            raise PackageError(message, code="package.model") from error
        return load_network(trainer.best if trainer.best.exists() else trainer.last)


class _Trainer(DetectionTrainer):  # type: ignore[misc] # the library is untyped
    """Trains `network` itself, and what a change brings along."""

    network: Any
    learned_too: list[Any]

    def begin_with(self, network: Any, change: Change | None) -> None:
        self.network = network
        self.learned_too = list(change.learned_too) if change else []
        if change is not None:
            # Not before: the copy that averages the weights is made first.
            self.add_callback("on_train_start", lambda one: change.begin(one.model))

    def get_model(self, *_: Any, **__: Any) -> Any:
        return self.network

    def build_optimizer(self, *arguments: Any, **named: Any) -> Any:
        optimizer = super().build_optimizer(*arguments, **named)
        if self.learned_too:
            group = {"params": self.learned_too}
            optimizer.add_param_group(
                {**group, "lr": self.args.lr0, "initial_lr": self.args.lr0, "weight_decay": 0.0}
            )
        return optimizer


def _overrides(
    data: Path, training: Training, epochs: int, size: int, folder: Path
) -> dict[str, Any]:
    return {
        # Only its suffix is read: the network is given.
        "model": "network.yaml",
        "task": "detect",
        "data": str(data),
        "epochs": epochs,
        "imgsz": size,
        "batch": training.batch,
        # Every batch is a step, or short trainings have too few.
        "nbs": training.batch,
        "lr0": training.rate,
        "lrf": 0.01,
        "cos_lr": True,
        "optimizer": "AdamW",
        "warmup_epochs": 0.0,
        "mosaic": 0.0,
        "device": training.device,
        "seed": training.seed,
        "deterministic": True,
        "amp": False,
        "workers": 0,
        "plots": False,
        "val": False,
        "verbose": False,
        "project": str(folder),
        "name": "run",
    }
