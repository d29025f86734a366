"""The steps that a single variant of a recipe goes through: prune, distil, export, quantise, judge, hide."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console

from agent.cli.gate import Court, Reference, measure
from agent.cli.obfuscate import hide
from agent.cli.quantise import calibration_inputs, quantise_within, require_within
from agent.cli.steps import StepFigures, figures
from agent.release.cache import Cache
from agent.release.gate import Budget, Evidence
from agent.release.recipe import CHECKPOINT, Calibration, Recipe, RecipeVariant
from agent.schema.document import parse_json, to_json
from agent.schema.values import BackendName, Precision

if TYPE_CHECKING:
    from agent.vision.dataset import Dataset
    from agent.vision.detector import Detector
    from agent.vision.evaluation import EvalReport
    from agent.vision.gallery import Picture
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
        pictures: Gives the golden pictures.
    """

    def __init__(
        self, recipe: Recipe, folder: Path, cache: Cache, pictures: Callable[[], list[Picture]]
    ) -> None:
        self._recipe = recipe
        self._folder = folder
        self._cache = cache
        self._pictures = pictures
        self._references: dict[Path, Reference] = {}

    def make(self, wanted: RecipeVariant) -> Made:
        """Prune, distil, export, quantise or halve, and judge; what the gate finds is evidence, no error.

        Raises:
            ConfigError: A checkpoint needs ultralytics, or classes are not the validation set's.
            ModelError: The source does not load or run.
            PackageError: It cannot be exported, or INT8 loses too much.
        """
        Console(stderr=True).print(f"{wanted.id}", highlight=False)
        budget = wanted.budget or self._recipe.budget
        checkpoints = self._checkpoints(wanted)
        stages = [
            (step, self._exported(wanted, one, wanted.backend, wanted.precision))
            for step, one in checkpoints
        ]
        source = stages[-1][1]
        facts = self._load(source, wanted).facts
        file = source
        if wanted.quantise and self._recipe.calibration is not None:
            file = self._quantised(source, facts, self._recipe.calibration, budget.max_drop)
            stages.append(("int8", file))
        if wanted.half:
            file = self._halved(source)
            stages.append(("fp16", file))
        evidence = self._judged(wanted, file, facts, budget)
        return Made(wanted, file, facts, evidence, budget, tuple(stages))

    def steps(self, made: Made) -> list[StepFigures]:
        """Measure what every step gained and lost; none where there was no step, or no ONNX file to count.

        Raises:
            ModelError: A file of a step does not run.
        """
        if len(made.stages) == 1 or made.file.suffix != ".onnx":
            return []
        reports = [self._report(file, made.facts) for _, file in made.stages]
        return [
            figures(made.wanted.id, step, file, report, reports[0] if number else None)
            for number, ((step, file), report) in enumerate(zip(made.stages, reports, strict=True))
        ]

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

    def _checkpoints(self, wanted: RecipeVariant) -> list[tuple[str, Path]]:
        """Return step and file of the source, and of the checkpoints that training made of it."""
        stages = [("source", self._folder / wanted.source)]
        training, size = self._recipe.training, wanted.size
        if size is None:
            return stages
        data = self._training_set
        if (cut := wanted.prune) is not None:
            from agent.release.optimise.steps import pruned

            source = stages[-1][1]
            inputs = {"checkpoint": source, "size": size, "plan": msgspec.to_builtins(cut)}
            make = partial(pruned, source, cut, training, self._folder, size)
            known = data if cut.epochs else {}
            stages.append(("pruned", self._cache.file("pruned", CHECKPOINT, inputs | known, make)))
        if (plan := wanted.distil) is not None and training is not None:
            from agent.release.optimise.steps import distilled

            student, teacher = stages[-1][1], self._folder / (plan.teacher or wanted.source)
            inputs = {"checkpoint": student, "size": size, "plan": msgspec.to_builtins(plan)}
            inputs |= data | {"teacher": teacher}
            make = partial(distilled, student, teacher, plan, training, self._folder, size)
            stages.append(("distilled", self._cache.file("distilled", CHECKPOINT, inputs, make)))
        return stages

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

    def _report(self, file: Path, facts: Facts) -> EvalReport:
        def make() -> bytes:
            return to_json(measure(_load_known(file, facts), self._truth, file.name))

        inputs = self._validation | {"model": file, "facts": msgspec.to_builtins(facts)}
        path = self._cache.file("measured", ".json", inputs, make)
        return msgspec.json.decode(path.read_bytes(), type=_eval_report())

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

    def _quantised(
        self, source: Path, facts: Facts, calibration: Calibration, max_drop: float
    ) -> Path:
        pictures = self._folder / calibration.source

        def make() -> bytes:
            load = partial(_load_known, facts=facts)
            values = calibration_inputs(load(source), pictures, calibration.pictures)
            found = quantise_within(source, values, calibration.method, load, self._truth, max_drop)
            require_within(found, source)
            return found.file

        inputs = self._validation | {
            "model": source,
            "facts": msgspec.to_builtins(facts),
            "pictures": pictures,
            "calibration": msgspec.to_builtins(calibration),
            "max_drop": max_drop,
        }
        return self._cache.file("int8", ".onnx", inputs, make)

    def _halved(self, source: Path) -> Path:
        from agent.release.half import halve

        return self._cache.file("fp16", ".onnx", {"model": source}, partial(halve, source))

    def _judged(self, wanted: RecipeVariant, file: Path, facts: Facts, budget: Budget) -> Evidence:
        reference, golden = self._reference(wanted), self._recipe.golden

        def make() -> bytes:
            court = Court(self._truth, [one.image for one in self._pictures()], budget)
            if reference not in self._references:
                detector = self._load(reference, wanted)
                self._references[reference] = court.reference(detector, reference.name)
            load = partial(_load_known, file, facts, golden.confidence, golden.iou)
            return to_json(court.judge(wanted.id, 0.0, load, self._references[reference]))

        inputs = self._validation | {
            "variant": wanted.id,
            "model": file,
            "facts": msgspec.to_builtins(facts),
            "reference": reference,
            "budget": msgspec.to_builtins(budget),
            "golden": msgspec.to_builtins(golden),
            **{
                f"golden {name}": self._folder / name
                for name in (*golden.images, golden.clip)
                if name
            },
        }
        path = self._cache.file("judged", ".json", inputs, make)
        return parse_json(path.read_bytes(), Evidence)

    def _reference(self, wanted: RecipeVariant) -> Path:
        """Return the file that a variant is judged against: what it was made from."""
        if wanted.reference:
            return self._folder / wanted.reference
        source = self._folder / wanted.source
        return self._exported(wanted, source, BackendName.ONNXRUNTIME, Precision.FP32)

    def _load(self, file: Path, wanted: RecipeVariant) -> Detector:
        from agent.vision.detector import load_detector

        golden = self._recipe.golden
        return load_detector(
            file,
            family=wanted.family.value if wanted.family else None,
            labels=self._recipe.labels or None,
            confidence=golden.confidence,
            iou=golden.iou,
        )

    @cached_property
    def _truth(self) -> Dataset:
        from agent.vision.dataset import load_dataset

        validation = self._recipe.validation
        return load_dataset(self._folder / validation.dataset, self._folder / validation.images)

    @property
    def _validation(self) -> dict[str, object]:
        validation = self._recipe.validation
        return {
            "truth": self._folder / validation.dataset,
            "images": self._folder / validation.images,
        }


def _eval_report() -> type[EvalReport]:
    from agent.vision.evaluation import EvalReport

    return EvalReport


def _load_known(file: Path, facts: Facts, confidence: float = 0.25, iou: float = 0.6) -> Detector:
    """Load a file that is decoded as another one is."""
    from agent.vision.detector import load_detector

    return load_detector(
        file,
        family=facts.family,
        labels=facts.labels,
        input_spec=facts.input,
        box_units=facts.box_units,
        task=facts.task,
        keypoints=facts.keypoints,
        class_scores=facts.class_scores,
        confidence=confidence,
        iou=iou,
    )
