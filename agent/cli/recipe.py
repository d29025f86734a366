"""`vigil release build --recipe`: from sources to a draft that can be sealed, step by step, none of them done twice.

For every variant: prune, distil, export, quantise, gate, obfuscate; then golden boxes and drift baseline of all. What a step made is a file in
the work folder, named after the digest of what it was made from.
"""

from __future__ import annotations

import os
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace
from rich.console import Console

from agent.cli.baseline import baseline_of
from agent.cli.figures import show_figures
from agent.cli.gate import refuse
from agent.cli.golden import golden_pictures, look
from agent.cli.judging import Judge
from agent.cli.output import write_file
from agent.cli.variants import Made, Workbench
from agent.errors import PackageError
from agent.release.attest import DATASET
from agent.release.cache import Cache
from agent.release.draft_file import DRAFT_SCHEMA, DraftFile, GoldenFile, VariantFile
from agent.release.gate import reasons_against
from agent.release.recipe import Recipe
from agent.release.recipe_file import load_recipe
from agent.schema.document import to_json, to_yaml
from agent.schema.values import FamilyName, TaskName

if TYPE_CHECKING:
    from agent.vision.gallery import Picture

DRAFT_FILE = "draft.yaml"
WORK_FOLDER = ".vigil-build"
FIGURES_FILE = "variants.json"


def make_draft(path: Path, work: Path | None = None) -> Path:
    """Carry out the recipe at `path` and return the draft of its release.

    Args:
        path: The recipe.
        work: Where what was made is kept; `.vigil-build` beside the recipe unless given.

    Raises:
        ConfigError: The recipe contradicts itself or names what is not there.
        PackageError: A step cannot be done, or the gate refuses a variant.
    """
    recipe = load_recipe(path)
    folder = path.resolve().parent
    return _Build(path, recipe, (work or folder / WORK_FOLDER).resolve()).draft()


class _Build:
    """The recipe at `path`, carried out: its paths begin in its folder, what is made lies in `work`."""

    def __init__(self, path: Path, recipe: Recipe, work: Path) -> None:
        self._path = path
        self._recipe = recipe
        self._folder = path.resolve().parent
        self._work = work
        self._cache = Cache(work, _tell)

    def draft(self) -> Path:
        """Make everything; return the path of the draft."""
        judge = Judge(self._recipe, self._folder, self._cache, lambda: self._pictures)
        self._try_sources(judge)
        bench = Workbench(self._recipe, self._folder, self._cache, judge)
        made = [bench.make(wanted) for wanted in self._recipe.variants]
        against = {one.wanted.id: reasons_against(one.evidence, one.budget) for one in made}
        refused = {name: why for name, why in against.items() if why}
        found = [bench.figures(one, passed=one.wanted.id not in refused) for one in made]
        show = partial(show_figures, found, self._work / FIGURES_FILE)
        if refused:
            show()
        refuse(refused, len(made))
        draft = self._draft([bench.hide(one) for one in made])
        draft = replace(draft, golden=self._look(draft))
        draft = replace(draft, drift_baseline=self._baseline(draft))
        path = self._work / DRAFT_FILE
        write_file(path, to_yaml(msgspec.to_builtins(draft)).encode())
        show()
        return path

    def _try_sources(self, judge: Judge) -> None:
        """Read what is judged and calibrated on, before the long work that would end at what is wrong with it."""
        from agent.vision.gallery import open_source

        recipe = self._recipe
        if recipe.training is not None and any(one.is_checkpoint for one in recipe.variants):
            from agent.release.optimise.network import require_device

            require_device(recipe.training.device)
        _ = judge.truth
        _ = self._pictures
        sources = [recipe.calibration.source] if recipe.calibration else []
        for name in (*sources, *(recipe.drift.sources if recipe.drift else [])):
            open_source(self._folder / name)

    @cached_property
    def _golden_paths(self) -> list[Path]:
        """Where the golden pictures lie, or will lie once they are taken from the clip."""
        golden = self._recipe.golden
        if golden.images:
            return [self._folder / name for name in golden.images]
        digest = self._cache.digest(self._folder / golden.clip)[:12]
        folder = self._work / f"golden-{digest}-{golden.pictures}"
        return [folder / f"{number}.jpg" for number in range(1, golden.pictures + 1)]

    @cached_property
    def _pictures(self) -> list[Picture]:
        clip = self._recipe.golden.clip
        return golden_pictures(self._golden_paths, self._folder / clip if clip else None)

    def _draft(self, made: list[Made]) -> DraftFile:
        recipe, labels = self._recipe, {one.facts.labels for one in made}
        if len(labels) != 1:
            raise PackageError(f"expected variants of the same classes, found {sorted(labels)}")
        return DraftFile(
            schema=DRAFT_SCHEMA,
            name=recipe.name,
            version=recipe.version,
            device_class=recipe.device_class,
            counter=recipe.counter,
            labels=list(labels.pop()),
            variants=[self._variant(one) for one in made],
            golden=GoldenFile(
                images=[self._relative(path) for path in self._golden_paths],
                expected="",
                confidence=recipe.golden.confidence,
                iou=recipe.golden.iou,
            ),
            min_agent=recipe.min_agent,
            cipher=recipe.cipher,
            limits=recipe.limits,
            probation=recipe.probation,
            provenance=recipe.provenance,
            materials=self._materials(),
        )

    def _materials(self) -> dict[str, str]:
        """Return the digests of what everything was made from and judged on, by name."""
        recipe = self._recipe
        named = {"recipe": self._path.name, DATASET: recipe.validation.dataset}
        named["validation pictures"] = recipe.validation.images
        if recipe.calibration is not None and any(one.quantise for one in recipe.variants):
            named["calibration pictures"] = recipe.calibration.source
        for one in recipe.variants:
            named |= {f"source {name}": name for name in (one.source, one.reference) if name}
        return {name: self._cache.digest(self._folder / file) for name, file in named.items()}

    def _variant(self, made: Made) -> VariantFile:
        wanted, facts = made.wanted, made.facts
        return VariantFile(
            id=wanted.id,
            model=self._relative(made.file),
            backend=wanted.backend,
            precision=wanted.shipped_precision,
            family=FamilyName(facts.family),
            input=facts.input,
            accuracy=made.evidence.accuracy,
            memory_mb=wanted.memory_mb,
            box_units=facts.box_units,
            latency_ms=wanted.latency_ms,
            needs=wanted.needs,
            task=TaskName(facts.task),
            keypoints=facts.keypoints,
            class_scores=facts.class_scores,
        )

    def _look(self, draft: DraftFile) -> GoldenFile:
        """Return what is said of the golden set, with the files of what variants see in it."""
        pictures = self._pictures
        seen: list[tuple[object, object]] = []

        def make(part: int) -> bytes:
            if not seen:
                seen.append(look(draft, self._work, pictures))
            return msgspec.json.encode(seen[0][part])

        inputs = self._looked_at(draft) | {path.name: path for path in self._golden_paths}
        expected, stages = (
            self._cache.file(step, ".json", inputs, partial(make, part)).name
            for part, step in enumerate(("boxes", "stages"))
        )
        return replace(draft.golden, expected=expected, stages=stages)

    def _baseline(self, draft: DraftFile) -> str:
        """Return the name of the file of the drift baseline, empty where the recipe wants none."""
        wanted = self._recipe.drift
        if wanted is None:
            return ""
        sources = [self._folder / name for name in wanted.sources]

        def make() -> bytes:
            found = baseline_of(draft, self._work, sources, wanted.frames, wanted.night_below)
            return to_json(found)

        inputs = self._looked_at(draft) | {str(number): path for number, path in enumerate(sources)}
        inputs["drift"] = msgspec.to_builtins(wanted)
        return self._cache.file("baseline", ".json", inputs, make).name

    def _looked_at(self, draft: DraftFile) -> dict[str, object]:
        """Return what decides what variants see: they themselves, and the thresholds."""
        return {
            "variants": msgspec.to_builtins(draft.variants),
            "thresholds": [draft.golden.confidence, draft.golden.iou],
            **{f"model of {one.id}": self._work / one.model for one in draft.variants},
        }

    def _relative(self, path: Path) -> str:
        return os.path.relpath(path, self._work)


def _tell(step: str, known: bool) -> None:
    Console(stderr=True).print(f"  {step}{': known' if known else ''}", highlight=False)
