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

import inspect

import msgspec

from agent.release.draft_file import CipherName, LimitsFile
from agent.release.gate import Budget
from agent.release.optimise.settings import (
    Distillation,
    Pruning,
    Quantisation,
    Ranges,
    Side,
    Training,
)
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
        size: Side of the square input that a checkpoint is exported with, pixels, a multiple of 32.
        prune: Take channels out of a checkpoint.
        distil: Train a checkpoint beside a teacher, after it was pruned where it is.
        quantise: Make INT8 of it, within the budget: true for static ranges, or how.
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
    size: Side | None = None
    prune: Pruning | None = None
    distil: Distillation | None = None
    quantise: bool | Quantisation = False
    half: bool = False
    reference: str = ""
    family: FamilyName | None = None
    budget: Budget | None = None
    latency_ms: dict[str, PositiveFloat] = msgspec.field(default_factory=dict)
    needs: dict[str, bool] = msgspec.field(default_factory=dict)

    @property
    def quantisation(self) -> Quantisation | None:
        """How INT8 is made of it; None where it is not."""
        if isinstance(self.quantise, Quantisation):
            return self.quantise
        return Quantisation() if self.quantise else None

    @property
    def shipped_precision(self) -> Precision:
        """What the released file computes in."""
        if (plan := self.quantisation) is not None:
            is_static = plan.ranges is Ranges.STATIC
            return Precision.INT8 if is_static else Precision.DYNAMIC_INT8
        return Precision.FP16 if self.half else self.precision

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


def recipe_schema() -> bytes:
    """Return the JSON Schema of a recipe, for editors; `docs/recipe.schema.json` is this."""
    schema = msgspec.json.schema(Recipe)
    for part in schema["$defs"].values():
        if "description" in part:
            # Whether docstrings keep their indentation depends on the versions of Python and msgspec.
            part["description"] = inspect.cleandoc(part["description"])
    return msgspec.json.format(msgspec.json.encode(schema, order="sorted"), indent=2) + b"\n"
