"""The steps that a single variant of a recipe goes through: prune, distil, export, quantise, judge, hide."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console

from agent.cli.checkpoints import Checkpoints
from agent.cli.figures import VariantFigures, figures
from agent.cli.judging import Judge, load_known
from agent.cli.obfuscate import hide
from agent.cli.quantise import (
    calibration_inputs,
    quantise_within,
    quantiser_of,
    require_within,
)
from agent.errors import PackageError
from agent.release.cache import Cache
from agent.release.gate import Budget, Evidence
from agent.release.optimise.settings import Quantisation
from agent.release.recipe import Recipe, RecipeVariant
from agent.schema.values import BackendName, Precision

if TYPE_CHECKING:
    from agent.vision.recognise import Facts


@dataclass(frozen=True)
class Made:
    """A variant: its file, what decoding must know of it, what the gate measured, and by which budget it is judged.

    Attributes:
        stages: Name and file of what it was made from step by step, beginning with the source and ending with `file`.
    """

    wanted: RecipeVariant
    file: Path
    facts: Facts
    evidence: Evidence
    budget: Budget
    stages: tuple[tuple[str, Path], ...] = ()


class Workbench:
    """Makes variants of a recipe.

    Args:
        recipe: Where they are described.
        folder: Where the recipe's paths begin.
        cache: Keeps what was made.
        judge: Measures it.
    """

    def __init__(self, recipe: Recipe, folder: Path, cache: Cache, judge: Judge) -> None:
        self._recipe = recipe
        self._folder = folder
        self._cache = cache
        self._judge = judge
        self._checkpoints = Checkpoints(recipe, folder, cache)

    def make(self, wanted: RecipeVariant) -> Made:
        """Prune, distil, export, quantise or halve, and judge; what the gate finds is evidence, no error.

        Raises:
            ConfigError: What a step needs is not installed, or classes are not the validation set's.
            ModelError: The source does not load or run.
            PackageError: It cannot be exported, or INT8 loses too much.
        """
        Console(stderr=True).print(f"{wanted.id}", highlight=False)
        budget = wanted.budget or self._recipe.budget
        # Before the long work: classes that are not the validation set's show here.
        self._judge.reference(self._reference(wanted), wanted)
        checkpoints = self._checkpoints.stages(wanted)
        stages = [
            (step, self._exported(wanted, one, wanted.backend, wanted.precision))
            for step, one in checkpoints
        ]
        source = stages[-1][1]
        facts = self._judge.load(source, wanted).facts
        if (plan := wanted.quantisation) is not None:
            checkpoint = checkpoints[-1][1]
            stages += self._int8(wanted, plan, checkpoint, source, facts, budget.max_drop)
        if wanted.half:
            stages.append(("fp16", self._halved(source)))
        file = stages[-1][1]
        evidence = self._judge.judge(wanted, file, facts, self._reference(wanted), budget)
        return Made(wanted, file, facts, evidence, budget, tuple(stages))

    def figures(self, made: Made, *, passed: bool) -> VariantFigures:
        """Return what a variant costs and sees after each step, and what the gate decided.

        Raises:
            ModelError: A file that it was made from does not run.
        """
        reference = self._judge.reference(self._reference(made.wanted), made.wanted).report
        steps = []
        for step, file in made.stages:
            runs = file != made.file or not made.evidence.fault
            report = self._judge.report(file, made.facts) if runs else None
            steps.append(figures(step, file, report, reference))
        return VariantFigures(variant=made.wanted.id, steps=steps, passed=passed)

    def hide(self, made: Made) -> Made:
        """Obfuscate, unless the recipe wants models as they are.

        Raises:
            PackageError: The outputs are not the same bits.
        """
        plan = self._recipe.obfuscation
        if plan is None:
            return made
        inputs = {"model": made.file, "inert": plan.inert}
        file = self._cache.file(
            "obfuscated",
            made.file.suffix,
            inputs,
            lambda: hide(made.file, plan.inert, rounds=0).after,
        )
        return replace(made, file=file)

    def _exported(
        self, wanted: RecipeVariant, source: Path, backend: BackendName, precision: Precision
    ) -> Path:
        from agent.release.export import export_checkpoint

        size = wanted.size
        if size is None:
            return source
        suffix = ".tflite" if backend is BackendName.LITERT else ".onnx"
        inputs = {"checkpoint": source, "size": size, "as": [suffix, precision.value]}
        make = partial(export_checkpoint, source, backend, precision, size)
        return self._cache.file("exported", suffix, inputs, make)

    def _int8(
        self,
        wanted: RecipeVariant,
        plan: Quantisation,
        checkpoint: Path,
        source: Path,
        facts: Facts,
        max_drop: float,
    ) -> list[tuple[str, Path]]:
        """Return the stages from the exported `source` of a checkpoint to INT8, trained for it where it loses too much without."""
        stages: list[tuple[str, Path]] = []
        aware, size = plan.aware, wanted.size
        if aware is not None and size is not None:
            plain = self._quantised(source, facts, plan, max_drop=1.0)
            before, after = (self._judge.report(one, facts).map50_95 for one in (source, plain))
            if aware.is_due(before - after, max_drop):
                trained = self._checkpoints.aware(checkpoint, size, aware)
                source = self._exported(wanted, trained, wanted.backend, wanted.precision)
                stages = [("int8 untrained", plain), ("aware", source)]
        return [*stages, ("int8", self._quantised(source, facts, plan, max_drop))]

    def _quantised(self, source: Path, facts: Facts, plan: Quantisation, max_drop: float) -> Path:
        """Return the first INT8 file that loses no more than `max_drop`; with 1 the one with nothing in float."""
        calibration = self._recipe.calibration
        if calibration is None:
            raise PackageError("INT8: nothing to calibrate on")
        pictures = self._folder / calibration.source

        def make() -> bytes:
            load = partial(load_known, facts=facts)
            values = calibration_inputs(load(source), pictures, calibration.pictures)
            with quantiser_of(source, values, calibration.method, plan) as quantiser:
                found = quantise_within(quantiser, source, load, self._judge.truth, max_drop)
            require_within(found, source)
            return found.file

        inputs = self._judge.validation | {
            "model": source,
            "facts": msgspec.to_builtins(facts),
            "pictures": pictures,
            "calibration": msgspec.to_builtins(calibration),
            "ranges": [plan.ranges.value, plan.reduce_range],
            "max_drop": max_drop,
        }
        return self._cache.file("int8", source.suffix, inputs, make)

    def _halved(self, source: Path) -> Path:
        from agent.release.half import halve

        return self._cache.file("fp16", ".onnx", {"model": source}, partial(halve, source))

    def _reference(self, wanted: RecipeVariant) -> Path:
        """Return the file that a variant is judged against: what it was made from."""
        if wanted.reference:
            return self._folder / wanted.reference
        source = self._folder / wanted.source
        return self._exported(wanted, source, BackendName.ONNXRUNTIME, Precision.FP32)
