"""How the variants of a recipe are judged: each file is measured once, and compared with what it was made from."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from agent.cli.gate import Claim, Court, Reference, measure
from agent.release.cache import Cache
from agent.release.gate import Budget, Evidence
from agent.release.recipe import Recipe, RecipeVariant
from agent.schema.document import parse_json, to_json

if TYPE_CHECKING:
    from agent.vision.dataset import Dataset
    from agent.vision.detector import Detector
    from agent.vision.evaluation import EvalReport
    from agent.vision.gallery import Picture
    from agent.vision.recognise import Facts


class Judge:
    """Measures files of a recipe.

    Args:
        recipe: Where validation set, golden pictures and budgets are described.
        folder: Where the recipe's paths begin.
        cache: Keeps what was measured.
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
        self._reports: dict[tuple[Path, Facts], EvalReport] = {}

    def judge(
        self, wanted: RecipeVariant, file: Path, facts: Facts, source: Path, budget: Budget
    ) -> Evidence:
        """Compare a variant's file with what it was made from; what is found wrong is evidence, no error.

        Args:
            wanted: The variant.
            file: What it was made into.
            facts: How that is decoded.
            source: What it is compared with.
            budget: What it may lose.

        Raises:
            ConfigError: Classes are not the validation set's.
            ModelError: The source does not load or run.
        """
        golden = self._recipe.golden

        def make() -> bytes:
            court = Court([one.image for one in self._pictures()], budget)
            load = partial(load_known, file, facts, golden.confidence, golden.iou)
            claim, reference = Claim(wanted.id, 0.0), self.reference(source, wanted)
            found = court.judge(claim, load, lambda _: self.report(file, facts), reference)
            return to_json(found.evidence)

        inputs = self.validation | {
            "variant": wanted.id,
            "model": file,
            "facts": msgspec.to_builtins(facts),
            "reference": source,
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

    def reference(self, source: Path, wanted: RecipeVariant) -> Reference:
        """Return the model that a variant is compared with, measured; raises as `judge`."""
        if source not in self._references:
            detector = self.load(source, wanted)
            self._references[source] = Reference(detector, self.report(source, detector.facts))
        return self._references[source]

    def report(self, file: Path, facts: Facts) -> EvalReport:
        """Return what a file sees of the validation set.

        Raises:
            ConfigError: Its classes are not the validation set's.
            ModelError: It does not load or run.
        """
        from agent.vision.evaluation import EvalReport

        def make() -> bytes:
            return to_json(measure(load_known(file, facts), self.truth, file.name))

        inputs = self.validation | {"model": file, "facts": msgspec.to_builtins(facts)}
        if (file, facts) not in self._reports:
            path = self._cache.file("measured", ".json", inputs, make)
            report = msgspec.json.decode(path.read_bytes(), type=EvalReport)
            self._reports[file, facts] = report
        return self._reports[file, facts]

    def load(self, file: Path, wanted: RecipeVariant) -> Detector:
        """Load a file of a variant by what it says of itself.

        Raises:
            ModelError: It does not load.
        """
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
    def truth(self) -> Dataset:
        """The validation set."""
        from agent.vision.dataset import load_dataset

        validation = self._recipe.validation
        return load_dataset(self._folder / validation.dataset, self._folder / validation.images)

    @property
    def validation(self) -> dict[str, object]:
        """What decides what is measured, for the cache."""
        validation = self._recipe.validation
        return {
            "truth": self._folder / validation.dataset,
            "images": self._folder / validation.images,
        }


def load_known(file: Path, facts: Facts, confidence: float = 0.25, iou: float = 0.6) -> Detector:
    """Load a file that is decoded as another one is.

    Raises:
        ModelError: It does not load.
    """
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
