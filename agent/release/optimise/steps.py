"""The steps of training: a checkpoint in, a checkpoint out."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from agent.release.optimise.network import checkpoint_of, load_network
from agent.release.optimise.settings import Awareness, Distillation, Pruning, Training


def pruned(
    checkpoint: Path, plan: Pruning, training: Training | None, folder: Path, size: int
) -> bytes:
    """Return the checkpoint with `plan.ratio` of its channels taken out, trained where there are epochs.

    Args:
        checkpoint: The detector.
        plan: How much is taken.
        training: Needed where there are epochs.
        folder: Where the paths of `training` begin.
        size: Side of the input in pixels.

    Raises:
        ConfigError: The extra is not installed.
        PackageError: It cannot be read, pruned or trained.
    """
    network = load_network(checkpoint)
    from agent.release.optimise.prune import prune
    from agent.release.optimise.train import fine_tune

    prune(network, plan.ratio, size)
    if plan.epochs and training is not None:
        data = folder / training.data
        network = fine_tune(network, data, training, plan.epochs, size)
    return checkpoint_of(network)


def trained(checkpoint: Path, training: Training, epochs: int, folder: Path, size: int) -> bytes:
    """Return the checkpoint after training as it is; the rest as of `pruned`."""
    network = load_network(checkpoint)
    from agent.release.optimise.train import fine_tune

    return checkpoint_of(fine_tune(network, folder / training.data, training, epochs, size))


def distilled(
    checkpoint: Path,
    teacher: Path,
    plan: Distillation,
    training: Training,
    folder: Path,
    size: int,
) -> bytes:
    """Return the checkpoint after training beside a teacher; the rest as of `pruned`."""
    student, master = load_network(checkpoint), load_network(teacher)
    from agent.release.optimise.distil import Lesson
    from agent.release.optimise.train import Change, fine_tune

    lesson = Lesson(master, student, plan)
    beside = Change(lesson.begin, lesson.adaptors.parameters())
    network = fine_tune(student, folder / training.data, training, plan.epochs, size, beside)
    return checkpoint_of(network)


def aware(checkpoint: Path, plan: Awareness, training: Training, folder: Path, size: int) -> bytes:
    """Return the checkpoint after training with quantisation in mind, float as before; the rest as of `pruned`."""
    network = load_network(checkpoint)
    from agent.release.optimise.aware import imitate_int8
    from agent.release.optimise.train import Change, fine_tune

    training = replace(training, rate=plan.rate or training.rate)
    data, rounded = folder / training.data, Change(imitate_int8)
    network = fine_tune(network, data, training, plan.epochs, size, rounded)
    return checkpoint_of(network)
