"""A recipe's file: read, and told where it contradicts itself or names what is not there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from agent.errors import ConfigError
from agent.host.disk import REAL_DISK, Disk
from agent.release.optimise.settings import Ranges
from agent.release.recipe import CHECKPOINT, RECIPE_SCHEMA, Recipe, RecipeVariant
from agent.schema.document import config_from_yaml
from agent.schema.values import BackendName, CalibrationMethod, Precision

_TEXT_LIMIT = 1 << 20
_SUFFIXES = {
    BackendName.ONNXRUNTIME: (".onnx", CHECKPOINT),
    BackendName.TENSORRT: (".onnx", CHECKPOINT),
    BackendName.LITERT: (".tflite", CHECKPOINT),
}


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
    yield from _quantisation_faults(variant, recipe)


def _quantisation_faults(variant: RecipeVariant, recipe: Recipe) -> Iterator[tuple[str, str]]:
    plan, is_litert = variant.quantisation, variant.backend is BackendName.LITERT
    if plan is None:
        return
    if recipe.calibration is None:
        yield "quantise", "expected $.calibration beside it, found none"
    elif is_litert and recipe.calibration.method is not CalibrationMethod.MINMAX:
        yield "quantise", "expected minmax as $.calibration.method for LiteRT"
    if plan.ranges is Ranges.DYNAMIC and not is_litert:
        yield "quantise.ranges", f"expected static for {variant.backend.value}, found dynamic"
    if plan.reduce_range and is_litert:
        yield "quantise.reduce_range", "expected false for litert, found true"
    if variant.precision is not Precision.FP32:
        yield "precision", f"expected fp32 of what is quantised, found {variant.precision.value}"


def _training_faults(variant: RecipeVariant, recipe: Recipe) -> Iterator[tuple[str, str]]:
    plan, distil = variant.prune, variant.distil
    aware = variant.quantisation.aware if variant.quantisation else None
    for name, asked in (("prune", plan), ("distil", distil), ("quantise.aware", aware)):
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
