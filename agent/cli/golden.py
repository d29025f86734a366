"""`vigil release golden`: what every variant of a release finds in its golden pictures, written down.

A device that tries the release looks at the same pictures and must find the same again.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from agent.cli.output import AsJson, tell, write_file
from agent.cli.progress import with_progress
from agent.errors import PackageError

if TYPE_CHECKING:
    from agent.release.draft_file import DraftFile, VariantFile
    from agent.release.golden import GoldenBox
    from agent.schema.manifest import StageSketch
    from agent.vision.detector import Detector
    from agent.vision.gallery import Picture

Boxes = list[list["GoldenBox"]]


def golden(
    draft: Annotated[Path, typer.Argument(help="Draft of the release (YAML).")],
    clip: Annotated[
        Path | None,
        typer.Option(exists=True, help="Video to take the pictures from that are not there yet."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run every variant of a draft over its golden pictures and write the boxes they must find.

    Choose pictures that your cameras took and that show what the model knows. Writes the file that the
    draft names as `golden.expected`, and what led to the boxes to `golden.stages`, if it names one: a device that
    finds other boxes says then at which stage it differs.
    """
    from agent.release.draft_file import read_draft

    wanted, folder = read_draft(draft), draft.resolve().parent
    pictures = golden_pictures([folder / name for name in wanted.golden.images], clip)
    expected, stages = look(wanted, folder, pictures)
    Console(stderr=as_json).print(_table(wanted, expected))
    files = {wanted.golden.expected: expected, wanted.golden.stages: stages}
    written = {folder / name: content for name, content in files.items() if name}
    for path, content in written.items():
        write_file(path, msgspec.json.encode(content))
    objects = {variant: [len(boxes) for boxes in seen] for variant, seen in expected.items()}
    tell(
        {
            "files": [str(path) for path in written],
            "pictures": wanted.golden.images,
            "objects": objects,
        },
        *(f"{path}: written" for path in written),
        as_json=as_json,
    )


def look(
    draft: DraftFile, folder: Path, pictures: list[Picture]
) -> tuple[dict[str, Boxes], dict[str, list[StageSketch]]]:
    """Return, by variant id, the boxes found in each picture, and the stages that led to them.

    Raises:
        ModelError: A variant does not load or run.
        PackageError: A variant finds nothing in any picture.
    """
    expected: dict[str, Boxes] = {variant.id: [] for variant in draft.variants}
    stages: dict[str, list[StageSketch]] = {variant.id: [] for variant in draft.variants}
    looks = _look(draft, folder, pictures)
    for variant, boxes, led in with_progress(looks, "Looking", len(expected) * len(pictures)):
        expected[variant].append(boxes)
        stages[variant].append(led)
    _refuse_blindness(expected)
    return expected, stages


def golden_pictures(paths: list[Path], clip: Path | None) -> list[Picture]:
    """Return the golden pictures; those that are not there are taken from the clip first.

    Raises:
        CameraError: A picture cannot be decoded, or the clip is too short.
        PackageError: There are none, or some are missing and there is no clip.
    """
    from agent.vision.gallery import read_picture, write_stills

    if not paths:
        raise PackageError("golden set: expected at least one image, found none")
    missing = [path for path in paths if not path.exists()]
    if missing and clip is None:
        hint = "put it there, or take all that are missing from a video: --clip VIDEO"
        raise PackageError(f"{missing[0]}: no such golden picture", hint=hint)
    if missing and clip is not None:
        write_stills(clip, paths)
    return [read_picture(path) for path in paths]


def _look(
    draft: DraftFile, folder: Path, pictures: list[Picture]
) -> Iterator[tuple[str, list[GoldenBox], StageSketch]]:
    from agent.vision.detector import golden_boxes
    from agent.vision.stages import sketch

    for variant in draft.variants:
        detector = load_variant(draft, variant, folder)
        for picture in pictures:
            yield variant.id, golden_boxes(detector, picture.image), sketch(detector, picture.image)


def load_variant(draft: DraftFile, variant: VariantFile, folder: Path) -> Detector:
    """Load a variant's plain model as a device would, with the golden set's thresholds."""
    from agent.vision.detector import load_detector

    # A TensorRT variant ships as ONNX; its engine is built on the device.
    backend = "onnxruntime" if variant.backend.value == "tensorrt" else variant.backend.value
    return load_detector(
        folder / variant.model,
        backend=backend,
        family=variant.family.value,
        labels=draft.labels,
        input_spec=variant.input,
        box_units=variant.box_units,
        task=variant.task.value,
        keypoints=variant.keypoints,
        class_scores=variant.class_scores,
        confidence=draft.golden.confidence,
        iou=draft.golden.iou,
    )


def _refuse_blindness(expected: dict[str, Boxes]) -> None:
    for variant, boxes in expected.items():
        if not any(boxes):
            hint = (
                "choose pictures that show what the model knows; check family, input and box_units"
            )
            raise PackageError(f"variant {variant} finds nothing in any golden picture", hint=hint)


def _table(draft: DraftFile, expected: dict[str, Boxes]) -> Table:
    table = Table("picture", *expected)
    for index, name in enumerate(draft.golden.images):
        table.add_row(name, *(str(len(boxes[index])) for boxes in expected.values()))
    return table
