"""A release as its makers describe it: `manifest.json`, signed as a TUF target.

A release is the folder `models/<class>/<name>/<version>/` of targets: this manifest, one sealed payload
per variant (a device fetches only the one it chose) and one sealed golden set.
"""

from __future__ import annotations

import msgspec

from agent.schema.drift import DriftBaseline
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
    TargetPath,
    TaskName,
    Version,
)

MANIFEST_SCHEMA = 1
MANIFEST_FILE = "manifest.json"
GOLDEN_FILE = "golden.sealed"


class SealedFile(Struct):
    """One sealed container as it lies in the repository: `file` beside the manifest, bytes, digest."""

    file: str
    size: Positive
    sha256: Sha256


class InputSpec(Struct):
    """What the network expects: `(1, 3, height, width)` for `nchw`, `(1, height, width, 3)` for `nhwc`.

    Pixels are `value * scale` in `colour` order, letterboxed with `pad_value` (0-255) to `width` x `height`,
    centred or at the top left. With `fit` `crop` nothing is padded: the frame's shorter side is scaled to the
    input and the middle of the longer one is kept, as classifiers are trained.
    """

    width: Positive
    height: Positive
    layout: str = "nchw"
    colour: str = "rgb"
    scale: PositiveFloat = 1.0 / 255.0
    letterbox: str = "center"
    pad_value: int = 114
    fit: str = "letterbox"


class Variant(Struct):
    """One loadable form of the model.

    Attributes:
        id: Unique in the manifest, for example `onnx-fp32-320`.
        family: How to decode its outputs; boxes in `pixels` of the input or `normalised` to [0, 1].
        payload: The sealed model file.
        accuracy: mAP50-95 on the release's validation set, in [0, 1].
        latency_ms: Hints, milliseconds per inference by device profile name.
        memory_mb: Working set of the worker with this variant, MiB.
        needs: Facts that must hold, for example `{"edgetpu": true}`.
        task: What it finds; its outputs are decoded by family and task together.
        keypoints: Of a pose model: number of key points and values of each (2 or 3); null where the file says.
        class_scores: Of a classifier: its outputs are `probabilities`, or `logits` that a softmax must follow.
    """

    id: Identifier
    backend: BackendName
    precision: Precision
    family: FamilyName
    input: InputSpec
    payload: SealedFile
    accuracy: Fraction
    memory_mb: Positive
    box_units: str = "pixels"
    latency_ms: dict[str, PositiveFloat] = {}
    needs: dict[str, bool] = {}
    task: TaskName = TaskName.DETECT
    keypoints: tuple[Positive, Positive] | None = None
    class_scores: str = "probabilities"


class GoldenSpec(Struct):
    """The sealed golden set and when a trial on it passes.

    Attributes:
        payload: Sealed MessagePack of `GoldenSet`.
        min_match: Share of expected boxes that must be found (same label, IoU and score within tolerance),
            and share of found boxes that must be expected.
        iou: Least overlap for a match.
        score_tolerance: Greatest difference of scores for a match.
        max_latency_ms: Greatest p95 of one inference on the device, milliseconds; null for no limit.
        max_memory_mb: Greatest PSS of the worker, MiB; null for no limit.
    """

    payload: SealedFile
    min_match: Fraction = 0.9
    iou: Fraction = 0.7
    score_tolerance: Fraction = 0.15
    max_latency_ms: PositiveFloat | None = None
    max_memory_mb: Positive | None = None


class ProbationSpec(Struct):
    """What the release's makers ask of the first minutes on live frames; null means the device's default.

    Attributes:
        min_agreement: Least share of the objects seen by the previous model that this one must see, too, on live
            frames; 0 asks for none.
    """

    seconds: PositiveFloat | None = None
    max_error_rate: Fraction | None = None
    max_p95_ms: PositiveFloat | None = None
    min_agreement: Fraction | None = None


class Manifest(Struct):
    """A release: identity, variants, golden set and where it came from.

    Attributes:
        device_class: The class of devices it is for; equals the target path's second segment.
        release_counter: Rises with every release of the class; the device's floor compares it.
        min_agent: Oldest agent version that can run it.
        drift_baseline: What its pictures and results look like where it was made; empty in older releases.
        documents: Plain files beside it for people, named as sealed ones are: SBOM and provenance. Devices do not fetch them.
        release_id: Binds sealed files to this release: `<class>/<name>/<version>`.
    """

    schema: int
    name: Identifier
    version: Version
    device_class: Identifier
    release_counter: Counter
    min_agent: Version
    labels: list[str]
    variants: list[Variant]
    golden: GoldenSpec
    probation: ProbationSpec = ProbationSpec()
    drift_baseline: DriftBaseline = DriftBaseline()
    provenance: dict[str, str] = {}
    documents: list[SealedFile] = []

    @property
    def release_id(self) -> str:
        """Return `<class>/<name>/<version>`, the name sealed files and key grants are bound to."""
        return f"{self.device_class}/{self.name}/{self.version}"


class ReleaseRef(Struct):
    """The exact release somebody asked for: target path of its manifest, digest, and its counter once known.

    The path is `models/<class>/<name>/<version>/manifest.json`.
    """

    path: TargetPath
    sha256: Sha256
    counter: Counter = 0

    @property
    def name(self) -> str:
        """Return the release's name."""
        return self.path.split("/")[-3:][0]

    @property
    def version(self) -> str:
        """Return the release's version."""
        return self.path.split("/")[-2]

    @property
    def label(self) -> str:
        """Return `<name> <version>` for people."""
        return f"{self.name} {self.version}"


class StageSketch(msgspec.Struct, frozen=True, array_like=True):
    """What the stages before a result gave for one golden picture, coarse enough to bear another rounding.

    Attributes:
        decoded: Of the decoded picture, grey levels: means of blue, green and red in each cell of a grid of 6 x 8, then
            the mean detail of each cell.
        scaled: The same of the picture as it was scaled for the network.
        place: Where that lies in the input, pixels: width, height, left, top.
        entered: Means of the input's three channels in each cell, as real values.
        outputs: Of each output, the means of 64 equal parts.
    """

    decoded: list[float]
    scaled: list[float]
    place: tuple[int, int, int, int]
    entered: list[float]
    outputs: list[list[float]]


class GoldenFrame(msgspec.Struct, frozen=True, array_like=True):
    """One golden input: a PNG or JPEG image, and per variant id the expected boxes and what led to them.

    A box is `(label, score, x_min, y_min, x_max, y_max)` in the image's pixels. Older golden sets have no `stages`.
    """

    image: bytes
    expected: dict[str, list[tuple[int, float, float, float, float, float]]]
    stages: dict[str, StageSketch] = {}


class GoldenSet(msgspec.Struct, frozen=True, array_like=True):
    """Plaintext content of a sealed golden set."""

    frames: list[GoldenFrame]
    confidence: float
    iou: float
