"""The checkpoints of a recipe's variants: pruned, distilled, trained with quantisation in mind, each made once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path

import msgspec

from agent.errors import PackageError
from agent.release.cache import Cache
from agent.release.optimise.settings import Awareness
from agent.release.recipe import CHECKPOINT, Recipe, RecipeVariant


class Checkpoints:
    """Makes checkpoints of a recipe.

    Args:
        recipe: Where the variants and their training are described.
        folder: Where the recipe's paths begin.
        cache: Keeps what was made.
    """

    def __init__(self, recipe: Recipe, folder: Path, cache: Cache) -> None:
        self._recipe = recipe
        self._folder = folder
        self._cache = cache

    def stages(self, wanted: RecipeVariant) -> list[tuple[str, Path]]:
        """Return step and file of the source, and of the checkpoints that pruning and distilling made of it.

        Raises:
            ConfigError: The extra is not installed.
            PackageError: It cannot be read, pruned or trained.
        """
        stages = [("source", self._folder / wanted.source)]
        training, size = self._recipe.training, wanted.size
        if size is None:
            return stages
        if (cut := wanted.prune) is not None:
            from agent.release.optimise.steps import pruned

            source = stages[-1][1]
            make = partial(pruned, source, cut, training, self._folder, size)
            made = self._made("pruned", make, source, size, cut, trained=bool(cut.epochs))
            stages.append(("pruned", made))
        if (plan := wanted.distil) is not None and training is not None:
            from agent.release.optimise.steps import distilled

            student, teacher = stages[-1][1], self._folder / (plan.teacher or wanted.source)
            make = partial(distilled, student, teacher, plan, training, self._folder, size)
            made = self._made("distilled", make, student, size, plan, teacher=teacher)
            stages.append(("distilled", made))
        return stages

    def aware(self, checkpoint: Path, size: int, plan: Awareness) -> Path:
        """Return what training with quantisation in mind makes of a checkpoint.

        Raises:
            ConfigError: The extra is not installed.
            PackageError: It cannot be read or trained, or the recipe does not say on what.
        """
        from agent.release.optimise.steps import aware

        training = self._recipe.training
        if training is None:
            raise PackageError("nothing to train on", code="package.model")
        make = partial(aware, checkpoint, plan, training, self._folder, size)
        return self._made("aware", make, checkpoint, size, plan)

    def _made(
        self,
        step: str,
        make: Callable[[], bytes],
        checkpoint: Path,
        size: int,
        plan: msgspec.Struct,
        *,
        trained: bool = True,
        **files: Path,
    ) -> Path:
        inputs: dict[str, object] = {"checkpoint": checkpoint, "size": size, **files}
        inputs["plan"] = msgspec.to_builtins(plan)
        if trained:
            inputs |= self._training_set
        return self._cache.file(step, CHECKPOINT, inputs, make)

    @cached_property
    def _training_set(self) -> dict[str, object]:
        """Return what decides what is learned: settings, and the files beside the data set's, but for the trainer's own caches."""
        training = self._recipe.training
        if training is None:
            return {}
        folder = (self._folder / training.data).parent
        files = (one for one in folder.rglob("*") if one.is_file() and one.suffix != ".cache")
        named: dict[str, object] = {f"data {one.relative_to(folder)}": one for one in files}
        return named | {"training": msgspec.to_builtins(training)}
