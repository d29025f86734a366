"""`vigil detect`: run a model on pictures, folders and videos, without any configuration."""

from __future__ import annotations

import enum
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from agent.errors import ConfigError, StorageError
from agent.schema.values import Shape, TaskName

if TYPE_CHECKING:
    from agent.vision.detector import Detector
    from agent.vision.gallery import Picture


_KEYPOINTS = re.compile(r"([1-9][0-9]{0,2})x([23])")


class Backend(str, enum.Enum):
    """Runtimes that can be asked for by name."""

    ONNXRUNTIME = "onnxruntime"
    LITERT = "litert"


class Family(str, enum.Enum):
    """Decoders that can be asked for by name."""

    ULTRALYTICS = "ultralytics"
    ULTRALYTICS_V5 = "ultralytics-v5"
    ULTRALYTICS_E2E = "ultralytics-e2e"
    YOLOX = "yolox"
    SSD_POSTPROCESS = "ssd-postprocess"


class ClassScores(str, enum.Enum):
    """What a classifier's outputs are."""

    PROBABILITIES = "probabilities"
    LOGITS = "logits"


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """One object in one picture; `box` is (x_min, y_min, x_max, y_max) in its pixels, as `shape` is."""

    label: str
    score: float
    box: list[float]
    shape: Shape | None = None


class Guess(msgspec.Struct, frozen=True):
    """A class that a whole picture may belong to, with its probability."""

    label: str
    score: float


class PictureResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was found in one picture; `frame` is its number in a video, 0 for pictures.

    `ranking` holds a classifier's best classes, best first.
    """

    source: str
    frame: int
    width: int
    height: int
    objects: list[Finding]
    stages_ms: dict[str, float]
    ranking: list[Guess] = []


def detect(  # noqa: PLR0913, PLR0917 - one parameter for each option of the command line
    source: Annotated[
        Path, typer.Argument(exists=True, help="A picture, a folder of them, or a video.")
    ],
    model: Annotated[
        Path, typer.Option(exists=True, dir_okay=False, help="An .onnx or .tflite file.")
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON document a picture, no table.")
    ] = False,
    save: Annotated[
        Path | None, typer.Option(file_okay=False, help="Folder for annotated pictures.")
    ] = None,
    confidence: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Least score of an object.")
    ] = 0.25,
    iou: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Overlap above which two boxes are one.")
    ] = 0.6,
    family: Annotated[
        Family | None, typer.Option(help="How outputs are decoded, if the file is silent.")
    ] = None,
    backend: Annotated[
        Backend | None, typer.Option(help="Runtime, if the file does not show it.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(exists=True, help="Class names, one a line.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of the runtime.")] = 2,
    task: Annotated[
        TaskName | None, typer.Option(help="What the model finds, if the file is silent.")
    ] = None,
    keypoints: Annotated[
        str | None, typer.Option(help="Of a pose model: points and values of each, as 17x3.")
    ] = None,
    class_scores: Annotated[
        ClassScores | None, typer.Option(help="Of a classifier: what its outputs are.")
    ] = None,
) -> None:
    """Find objects in pictures or a video with a model file."""
    from agent.vision.detector import load_detector
    from agent.vision.gallery import open_source

    detector = load_detector(
        model,
        backend=backend.value if backend else None,
        family=family.value if family else None,
        labels=read_labels(labels) if labels else None,
        threads=threads,
        confidence=confidence,
        iou=iou,
        task=task.value if task else None,
        keypoints=_read_keypoints(keypoints) if keypoints else None,
        class_scores=class_scores.value if class_scores else None,
    )
    total, pictures = open_source(source)
    steps = pictures if as_json else track(pictures, "Detecting", total, console=_stderr())
    _report(_results(detector, steps, save), as_json=as_json)


def read_labels(path: Path) -> list[str]:
    """Return the class names in a file, one a line.

    Raises:
        ConfigError: It cannot be read or holds none.
    """
    try:
        names = [line.strip() for line in path.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as class names: {error}") from error
    if not names:
        raise ConfigError(f"{path}: expected one class name a line, found none")
    return names


def _read_keypoints(text: str) -> tuple[int, int]:
    match = _KEYPOINTS.fullmatch(text)
    if match is None:
        message = f"--keypoints: expected points x values, such as 17x3, found {text[:60]!r}"
        raise ConfigError(message, hint="state 2 values (x, y) or 3 (x, y, score) for each point")
    return int(match[1]), int(match[2])


def _results(
    detector: Detector, pictures: Iterable[Picture], save: Path | None
) -> Iterator[PictureResult]:
    for picture in pictures:
        result = _result(detector, picture)
        if save is not None:
            _save(picture, result, save)
        yield result


def _result(detector: Detector, picture: Picture) -> PictureResult:
    from agent.vision.shapes import ranking_of, shapes_of

    found = detector.detect(picture.image)
    shapes = shapes_of(found.details, len(found.scores))
    return PictureResult(
        source=str(picture.source),
        frame=picture.frame,
        width=picture.image.shape[1],
        height=picture.image.shape[0],
        objects=[
            Finding(
                detector.labels[label], round(score, 4), [round(side, 1) for side in box], shape
            )
            for (label, score, *box), shape in itertools.zip_longest(found.golden(), shapes)
        ],
        stages_ms={stage: round(spent, 3) for stage, spent in found.stages_ms.items()},
        ranking=[
            Guess(detector.labels[guess.label], guess.score) for guess in ranking_of(found.details)
        ],
    )


def _save(picture: Picture, result: PictureResult, folder: Path) -> None:
    from agent.vision.gallery import annotated

    shapes = [found.shape for found in result.objects if found.shape is not None]
    captions = [(f"{found.label} {found.score:.2f}", found.box) for found in result.objects]
    path = folder / f"{picture.source.stem}-{picture.frame:06d}.jpg"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(annotated(picture.image, captions, shapes))
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error


def _report(results: Iterator[PictureResult], *, as_json: bool) -> None:
    if as_json:
        for result in results:
            typer.echo(msgspec.json.encode(result).decode())
        return
    table = Table("picture", "frame", "objects", "pre ms", "infer ms", "post ms")
    for result in results:
        times = [f"{result.stages_ms[stage]:.1f}" for stage in ("pre", "infer", "post")]
        name = Path(result.source).name
        table.add_row(name, str(result.frame), _summary(result), *times)
    Console().print(table)


def _summary(result: PictureResult) -> str:
    if result.ranking:
        return ", ".join(f"{guess.label} {guess.score:.2f}" for guess in result.ranking)
    counts = Counter(found.label for found in result.objects)
    return ", ".join(f"{counts[name]} {name}" for name in sorted(counts)) or "-"


def _stderr() -> Console:
    return Console(stderr=True)
