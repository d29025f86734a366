"""The release draft as a file (YAML), for the command line. Paths are relative to the file's folder.

```yaml
schema: 1
name: people
version: "1.0"
class: gate
counter: 1
labels: [person]
variants:
  - {id: onnx-fp32-320, model: people-320.onnx, backend: onnxruntime, precision: fp32, family: ultralytics,
     input: {width: 320, height: 320}, accuracy: 0.41, memory_mb: 120}
cipher: auto   # or aes-256-gcm, chacha20-poly1305
golden: {images: [a.jpg, b.jpg], expected: boxes.json, confidence: 0.25, iou: 0.6, stages: stages.json}
drift_baseline: baseline.json      # optional
materials: {validation: 9f86d081…}  # optional: SHA-256 of what models were made from and judged on, for SBOM and provenance
```
`boxes.json` has, by variant id, for each image its boxes `[label, score, x_min, y_min, x_max, y_max]`;
`stages` (optional) has what led to them. `vigil release golden` writes both, `vigil release baseline` the drift baseline.
"""

from __future__ import annotations

import enum
from pathlib import Path

import msgspec
from msgspec.structs import replace

from agent.errors import ConfigError
from agent.host.board import read_facts
from agent.host.disk import REAL_DISK, Disk
from agent.release.build import NO_BASELINE, UNLIMITED, ReleaseDraft, VariantDraft
from agent.release.golden import GoldenBox, golden_set
from agent.schema.document import Malformed, config_from_yaml, parse_json
from agent.schema.drift import DriftBaseline
from agent.schema.manifest import GoldenSet, InputSpec, ProbationSpec, StageSketch
from agent.schema.values import (
    BackendName,
    Counter,
    FamilyName,
    Fraction,
    Identifier,
    Positive,
    PositiveFloat,
    Precision,
    Sha256,
    Struct,
    TaskName,
    Version,
)
from agent.trust.sealed import Cipher

DRAFT_SCHEMA = 1
_TEXT_LIMIT = 1 << 20
_IMAGE_LIMIT = 16 << 20


class CipherName(str, enum.Enum):
    """How a release is sealed; `auto` asks the CPU that seals.

    A CPU without AES instructions (Raspberry Pi 3 and 4) opens ChaCha20-Poly1305 2.6 times faster: name it for a class of
    such boards.
    """

    AUTO = "auto"
    AES_256_GCM = "aes-256-gcm"
    CHACHA20_POLY1305 = "chacha20-poly1305"


class VariantFile(Struct):
    """One variant: a `Variant` of the manifest with the path of its plain model."""

    id: Identifier
    model: str
    backend: BackendName
    precision: Precision
    family: FamilyName
    input: InputSpec
    accuracy: Fraction
    memory_mb: Positive
    box_units: str = "pixels"
    latency_ms: dict[str, PositiveFloat] = msgspec.field(default_factory=dict)
    needs: dict[str, bool] = msgspec.field(default_factory=dict)
    task: TaskName = TaskName.DETECT
    keypoints: tuple[Positive, Positive] | None = None
    class_scores: str = "probabilities"


class GoldenFile(Struct):
    """The golden set: image files, the file of expected boxes, what they were found with, and the file of stages."""

    images: list[str]
    expected: str
    confidence: Fraction
    iou: Fraction
    stages: str = ""


class LimitsFile(Struct):
    """When a trial on the golden set passes, see `GoldenSpec`."""

    min_match: Fraction = UNLIMITED.min_match
    iou: Fraction = UNLIMITED.iou
    score_tolerance: Fraction = UNLIMITED.score_tolerance
    max_latency_ms: PositiveFloat | None = None
    max_memory_mb: Positive | None = None


class DraftFile(Struct, rename={"device_class": "class"}):
    """The whole file."""

    schema: int
    name: Identifier
    version: Version
    device_class: Identifier
    counter: Counter
    labels: list[str]
    variants: list[VariantFile]
    golden: GoldenFile
    min_agent: Version = "0"
    cipher: CipherName = CipherName.AUTO
    limits: LimitsFile = LimitsFile()
    probation: ProbationSpec = ProbationSpec()
    drift_baseline: str = ""
    provenance: dict[str, str] = msgspec.field(default_factory=dict)
    materials: dict[str, Sha256] = msgspec.field(default_factory=dict)


def read_draft(path: Path, disk: Disk = REAL_DISK) -> DraftFile:
    """Read a draft alone, without the files it names.

    Raises:
        ConfigError: It does not fit its schema.
        StorageError: It cannot be read.
    """
    text = disk.read(path, _TEXT_LIMIT).decode(errors="replace")
    draft = config_from_yaml(text, DraftFile, str(path))
    if draft.schema != DRAFT_SCHEMA:
        message = f"{path}: at $.schema: expected {DRAFT_SCHEMA}, found {draft.schema}"
        raise ConfigError(message)
    return draft


def load_draft(path: Path, disk: Disk = REAL_DISK) -> ReleaseDraft:
    """Read a draft and the golden images and boxes it names.

    Raises:
        ConfigError: A file does not fit its schema, or the expected boxes were never found.
        PackageError: The golden set is incomplete.
        StorageError: A file cannot be read.
    """
    draft = read_draft(path, disk)
    folder, limits = path.resolve().parent, draft.limits
    if not disk.exists(folder / draft.golden.expected):
        message = (
            f"{folder / draft.golden.expected}: not there, the draft names it as golden.expected"
        )
        raise ConfigError(message, hint=f"let the models write it: vigil release golden {path}")
    return ReleaseDraft(
        name=draft.name,
        version=draft.version,
        device_class=draft.device_class,
        counter=draft.counter,
        labels=draft.labels,
        variants=[_variant(variant, folder) for variant in draft.variants],
        golden=_golden(draft.golden, folder, disk),
        min_agent=draft.min_agent,
        cipher=cipher_of(draft.cipher, cpu_aes=read_facts().cpu_aes),
        limits=replace(
            UNLIMITED,
            min_match=limits.min_match,
            iou=limits.iou,
            score_tolerance=limits.score_tolerance,
            max_latency_ms=limits.max_latency_ms,
            max_memory_mb=limits.max_memory_mb,
        ),
        probation=draft.probation,
        drift_baseline=_baseline(draft, folder, disk),
        provenance=draft.provenance,
        materials=draft.materials,
    )


def cipher_of(name: CipherName, *, cpu_aes: bool) -> Cipher:
    """Return the cipher that `name` means where the CPU has AES instructions, or has not."""
    named = {
        CipherName.AES_256_GCM: Cipher.AES_256_GCM,
        CipherName.CHACHA20_POLY1305: Cipher.CHACHA20_POLY1305,
    }
    return named.get(name, Cipher.AES_256_GCM if cpu_aes else Cipher.CHACHA20_POLY1305)


def _variant(variant: VariantFile, folder: Path) -> VariantDraft:
    return VariantDraft(
        id=variant.id,
        model=folder / variant.model,
        backend=variant.backend,
        precision=variant.precision,
        family=variant.family,
        input=variant.input,
        accuracy=variant.accuracy,
        memory_mb=variant.memory_mb,
        box_units=variant.box_units,
        latency_ms=variant.latency_ms,
        needs=variant.needs,
        task=variant.task,
        keypoints=variant.keypoints,
        class_scores=variant.class_scores,
    )


def _baseline(draft: DraftFile, folder: Path, disk: Disk) -> DriftBaseline:
    """Read what `vigil release baseline` wrote, where the draft names such a file."""
    path = folder / draft.drift_baseline
    if not draft.drift_baseline:
        return NO_BASELINE
    if not disk.exists(path):
        hint = "let the models write it: vigil release baseline"
        raise ConfigError(f"{path}: not there, the draft names it as drift_baseline", hint=hint)
    try:
        baseline: DriftBaseline = parse_json(disk.read(path, 64 * _TEXT_LIMIT), DriftBaseline)
    except Malformed as error:
        raise ConfigError(f"{path}: {error}") from error
    missing = sorted({variant.id for variant in draft.variants} - baseline.variants.keys())
    if missing:
        hint = "make it anew: vigil release baseline"
        raise ConfigError(f"{path}: expected variant {missing[0]}, found none", hint=hint)
    return baseline


def _golden(golden: GoldenFile, folder: Path, disk: Disk) -> GoldenSet:
    path = folder / golden.expected
    try:
        expected = parse_json(disk.read(path, 64 * _TEXT_LIMIT), dict[str, list[list[GoldenBox]]])
    except Malformed as error:
        raise ConfigError(f"{path}: {error}") from error
    images = [disk.read(folder / image, _IMAGE_LIMIT) for image in golden.images]
    stages = _stages(folder / golden.stages, disk) if golden.stages else {}
    confidence, iou = golden.confidence, golden.iou
    return golden_set(images, expected, confidence=confidence, iou=iou, stages=stages)


def _stages(path: Path, disk: Disk) -> dict[str, list[StageSketch]]:
    try:
        stages: dict[str, list[StageSketch]] = parse_json(
            disk.read(path, 64 * _TEXT_LIMIT), dict[str, list[StageSketch]]
        )
    except Malformed as error:
        raise ConfigError(f"{path}: {error}") from error
    return stages
