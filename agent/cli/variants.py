"""The steps that a single variant of a recipe goes through: export, quantise, judge, hide."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console

from agent.cli.gate import Court, Reference
from agent.cli.obfuscate import hide
from agent.cli.quantise import calibration_inputs, quantise_within, require_within
from agent.release.cache import Cache
from agent.release.gate import Budget, Evidence
from agent.release.recipe import Calibration, Recipe, RecipeVariant
from agent.schema.document import parse_json, to_json
from agent.schema.values import BackendName, Precision

if TYPE_CHECKING:
    from agent.vision.dataset import Dataset
    from agent.vision.detector import Detector
    from agent.vision.gallery import Picture
    from agent.vision.recognise import Facts


@dataclass(frozen=True)
class Made:
    """A variant: its file, what decoding must know of it, what the gate measured, and by which budget it is judged."""

    wanted: RecipeVariant
    file: Path
    facts: Facts
    evidence: Evidence
    budget: Budget


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
        """Export, quantise or halve, and judge; what the gate finds is evidence, no error.

        Raises:
            ConfigError: A checkpoint needs ultralytics, or classes are not the validation set's.
            ModelError: The source does not load or run.
            PackageError: It cannot be exported, or INT8 loses too much.
        """
        Console(stderr=True).print(f"{wanted.id}", highlight=False)
        budget = wanted.budget or self._recipe.budget
        source = self._exported(wanted, wanted.backend, wanted.precision)
        facts = self._load(source, wanted).facts
        file = source
        if wanted.quantise and self._recipe.calibration is not None:
            file = self._quantised(source, facts, self._recipe.calibration, budget.max_drop)
        if wanted.half:
            file = self._halved(source)
        return Made(wanted, file, facts, self._judged(wanted, file, facts, budget), budget)

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

    def _exported(self, wanted: RecipeVariant, backend: BackendName, precision: Precision) -> Path:
        from agent.release.export import export_checkpoint

        source, size = self._folder / wanted.source, wanted.size
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
        return self._exported(wanted, BackendName.ONNXRUNTIME, Precision.FP32)

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
