"""The recipe of a release (YAML): which files become which variants, what they may lose, what devices look at.

```yaml
schema: 1
name: people
version: "1.0"
class: gate
counter: 1
validation: {dataset: truth.json, images: pictures/}
calibration: {source: pictures/}
golden: {clip: gate.mp4, pictures: 6}
drift: {sources: [gate.mp4]}
variants:
  - {id: onnx-fp32-640, source: people.pt, size: 640, memory_mb: 260}
  - {id: onnx-int8-640, source: people.pt, size: 640, quantise: true, memory_mb: 220, budget: {max_drop: 0.02}}
  - {id: litert-320, source: people-320.tflite, reference: people-320.onnx, memory_mb: 160}
```
Paths are relative to the file's folder. `vigil release schema` prints the whole schema for editors.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from agent.errors import ConfigError
from agent.host.disk import REAL_DISK, Disk
from agent.release.draft_file import CipherName, LimitsFile
from agent.release.gate import Budget
from agent.release.optimise.settings import Distillation, Pruning, Training
from agent.schema.document import config_from_yaml
from agent.schema.manifest import ProbationSpec
from agent.schema.values import (
    BackendName,
    CalibrationMethod,
    Counter,
    FamilyName,
    Fraction,
    Identifier,
    Positive,
    PositiveFloat,
    Precision,
    Struct,
    Version,
)

RECIPE_SCHEMA = 1
CHECKPOINT = ".pt"
_TEXT_LIMIT = 1 << 20
_SUFFIXES = {
    BackendName.ONNXRUNTIME: (".onnx", CHECKPOINT),
    BackendName.TENSORRT: (".onnx", CHECKPOINT),
    BackendName.LITERT: (".tflite", CHECKPOINT),
}


class ValidationSet(Struct):
    """Labels in COCO's instances format, and the folder or video of their pictures."""

    dataset: str
    images: str


class Calibration(Struct):
    """What INT8 is calibrated on: a folder or video of what the cameras see."""

    source: str
    pictures: Positive = 64
    method: CalibrationMethod = CalibrationMethod.MINMAX


class GoldenPictures(Struct):
    """The golden set: `images`, or so many `pictures` of a `clip`, and what boxes are found with."""

    images: list[str] = msgspec.field(default_factory=list)
    clip: str = ""
    pictures: Positive = 6
    confidence: Fraction = 0.25
    iou: Fraction = 0.6


class DriftPictures(Struct):
    """What the drift baseline is learned from; see `vigil release baseline`."""

    sources: list[str]
    frames: Positive = 400
    night_below: float = 50.0


class Obfuscation(Struct):
    """How models are obfuscated: inert layers of an ONNX graph, at most."""

    inert: Counter = 8


class RecipeVariant(Struct):
    """One variant.

    Attributes:
        source: An ONNX or LiteRT file, or a checkpoint (.pt) that ultralytics exports.
        backend: Runtime on the device; told by the file unless it is a checkpoint or for TensorRT.
        precision: What the file computes in; of a checkpoint, what it is exported to.
        size: Side of the square input that a checkpoint is exported with, pixels.
        prune: Take channels out of a checkpoint.
        distil: Train a checkpoint beside a teacher, after it was pruned where it is.
        quantise: Make static INT8 of it, within the budget; for ONNX.
        half: Make FP16 of it, with inputs and outputs in float32; for ONNX.
        reference: The file that it is judged against; its own source unless given.
        family: How outputs are decoded, where the file does not say.
        budget: What it may lose; the recipe's unless given.
    """

    id: Identifier
    source: str
    memory_mb: Positive
    backend: BackendName = BackendName.ONNXRUNTIME
    precision: Precision = Precision.FP32
    size: Positive | None = None
    prune: Pruning | None = None
    distil: Distillation | None = None
    quantise: bool = False
    half: bool = False
    reference: str = ""
    family: FamilyName | None = None
    budget: Budget | None = None
    latency_ms: dict[str, PositiveFloat] = msgspec.field(default_factory=dict)
    needs: dict[str, bool] = msgspec.field(default_factory=dict)

    @property
    def shipped_precision(self) -> Precision:
        """What the released file computes in."""
        made = Precision.FP16 if self.half else self.precision
        return Precision.INT8 if self.quantise else made

    @property
    def is_checkpoint(self) -> bool:
        """Whether its source must be exported first."""
        return self.source.endswith(CHECKPOINT)


class Recipe(Struct, rename={"device_class": "class"}):
    """The whole file.

    Attributes:
        labels: Class names by class id, where the files do not say.
        training: How pruned and distilled networks are trained.
        obfuscation: Null releases models as they are.
    """

    schema: int
    name: Identifier
    version: Version
    device_class: Identifier
    counter: Counter
    validation: ValidationSet
    golden: GoldenPictures
    variants: list[RecipeVariant]
    labels: list[str] = msgspec.field(default_factory=list)
    calibration: Calibration | None = None
    training: Training | None = None
    drift: DriftPictures | None = None
    obfuscation: Obfuscation | None = Obfuscation()
    budget: Budget = Budget()
    min_agent: Version = "0"
    cipher: CipherName = CipherName.AUTO
    limits: LimitsFile = LimitsFile()
    probation: ProbationSpec = ProbationSpec()
    provenance: dict[str, str] = msgspec.field(default_factory=dict)


def load_recipe(path: Path, disk: Disk = REAL_DISK) -> Recipe:
    """Read a recipe and make sure that it does not contradict itself and that its files are there.

    Raises:
        ConfigError: With file, place, expected and found.
        StorageError: It cannot be read.
    """
    text = disk.read(path, _TEXT_LIMIT).decode(errors="replace")
    recipe = config_from_yaml(text, Recipe, str(path))
    for place, problem in _faults(recipe, path.resolve().parent).items():
        raise ConfigError(f"{path}: at {place}: {problem}", hint=f"correct {place} in {path}")
    return recipe


def recipe_schema() -> bytes:
    """Return the JSON Schema of a recipe, for editors; `docs/recipe.schema.json` is this."""
    schema = msgspec.json.schema(Recipe)
    return msgspec.json.format(msgspec.json.encode(schema, order="sorted"), indent=2) + b"\n"


def _faults(recipe: Recipe, folder: Path) -> dict[str, str]:
    """Return by place what is wrong, in the order of the file."""
    faults: dict[str, str] = {}
    if recipe.schema != RECIPE_SCHEMA:
        faults["$.schema"] = f"expected {RECIPE_SCHEMA}, found {recipe.schema}"
    if not recipe.golden.images and not recipe.golden.clip:
        faults["$.golden"] = "expected images or a clip, found neither"
    if not recipe.variants:
        faults["$.variants"] = "expected at least one, found none"
    seen: set[str] = set()
    for index, variant in enumerate(recipe.variants):
        place = f"$.variants[{index}]"
        if variant.id in seen:
            faults[f"{place}.id"] = f"expected a name of its own, found {variant.id!r} again"
        seen.add(variant.id)
        faults |= {f"{place}.{name}": text for name, text in _variant_faults(variant, recipe)}
    for place, name in _files(recipe):
        if not (folder / name).exists():
            faults.setdefault(place, f"expected a file or folder, found none at {folder / name}")
    return faults


def _variant_faults(variant: RecipeVariant, recipe: Recipe) -> Iterator[tuple[str, str]]:
    suffixes = _SUFFIXES[variant.backend]
    if not variant.source.endswith(suffixes):
        wanted = f"{' or '.join(suffixes)} for {variant.backend.value}"
        yield "source", f"expected a name that ends in {wanted}, found {variant.source!r}"
    if variant.is_checkpoint and variant.size is None:
        yield "size", "expected the side of the input to export with, found none"
    if variant.size is not None and not variant.is_checkpoint:
        yield "size", f"expected none, for {variant.source} has a size of its own"
    yield from _training_faults(variant, recipe)
    if variant.half and (variant.quantise or variant.backend is not BackendName.ONNXRUNTIME):
        yield (
            "half",
            "expected false where quantise is true and for other backends than onnxruntime",
        )
    if variant.half and variant.precision is not Precision.FP32:
        yield "precision", f"expected fp32 of what is halved, found {variant.precision.value}"
    if not variant.quantise:
        return
    if variant.backend is BackendName.LITERT:
        yield "quantise", "expected false for LiteRT, which is quantised where it is exported"
    if recipe.calibration is None:
        yield "quantise", "expected $.calibration beside it, found none"
    if variant.precision is not Precision.FP32:
        yield "precision", f"expected fp32 of what is quantised, found {variant.precision.value}"


def _training_faults(variant: RecipeVariant, recipe: Recipe) -> Iterator[tuple[str, str]]:
    plan, distil = variant.prune, variant.distil
    for name, asked in (("prune", plan), ("distil", distil)):
        if asked is not None and not variant.is_checkpoint:
            yield name, f"expected a checkpoint ({CHECKPOINT}) as source, found {variant.source!r}"
        if asked is not None and asked.epochs and recipe.training is None:
            yield name, "expected $.training beside it, found none"
    if distil is None:
        return
    if not distil.classes + distil.boxes + distil.features:
        yield "distil", "expected a weight above 0, found none"
    if not distil.teacher and plan is None:
        yield "distil.teacher", "expected a checkpoint, for nothing is pruned, found none"
    if distil.teacher and not distil.teacher.endswith(CHECKPOINT):
        yield "distil.teacher", f"expected a checkpoint ({CHECKPOINT}), found {distil.teacher!r}"


def _files(recipe: Recipe) -> list[tuple[str, str]]:
    """Return place and path of every file that a recipe names."""
    named = [
        ("$.validation.dataset", recipe.validation.dataset),
        ("$.validation.images", recipe.validation.images),
        ("$.golden.clip", recipe.golden.clip),
        ("$.calibration.source", recipe.calibration.source if recipe.calibration else ""),
        ("$.training.data", recipe.training.data if recipe.training else ""),
    ]
    named += [(f"$.golden.images[{n}]", name) for n, name in enumerate(recipe.golden.images)]
    drift = recipe.drift.sources if recipe.drift else []
    named += [(f"$.drift.sources[{n}]", name) for n, name in enumerate(drift)]
    for index, variant in enumerate(recipe.variants):
        named.append((f"$.variants[{index}].source", variant.source))
        named.append((f"$.variants[{index}].reference", variant.reference))
        teacher = variant.distil.teacher if variant.distil else ""
        named.append((f"$.variants[{index}].distil.teacher", teacher))
    return [(place, name) for place, name in named if name]
