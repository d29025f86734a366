"""`vigil detect`: run a model on pictures, folders, videos and cameras, without any configuration."""

from __future__ import annotations

import contextlib
import enum
import itertools
import re
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.detect_output import (
    Finding,
    Guess,
    PictureResult,
    print_json,
    print_lines,
    print_table,
)
from agent.cli.output import writable, write_file
from agent.cli.progress import with_progress
from agent.errors import ConfigError
from agent.schema.values import MAX_THREADS, TaskName

if TYPE_CHECKING:
    from agent.cli.live_page import LivePage
    from agent.vision.detector import Detector
    from agent.vision.gallery import Picture

_SOURCES = (
    "a picture, a folder of them, a video, /dev/videoN, an rtsp:// or http:// URL, or pattern:"
)

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


def detect(  # noqa: PLR0913, PLR0917 - one parameter for each option of the command line
    source: Annotated[
        str,
        typer.Argument(
            help="A picture, a folder of them, a video, or a camera: /dev/video0, rtsp://…, pattern:"
        ),
    ],
    model: Annotated[
        Path, typer.Option(exists=True, dir_okay=False, help="An .onnx or .tflite file.")
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON document a picture, no table.")
    ] = False,
    save: Annotated[
        Path | None,
        typer.Option(file_okay=False, callback=writable, help="Folder for annotated pictures."),
    ] = None,
    show: Annotated[
        bool, typer.Option("--show", help="Show the annotated pictures on a page of this machine.")
    ] = False,
    frames: Annotated[
        int | None, typer.Option(min=1, help="End after so many pictures, of a camera for example.")
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
    threads: Annotated[
        int, typer.Option(min=1, max=MAX_THREADS, help="CPU threads of the runtime.")
    ] = 2,
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
    """Find objects in pictures, a video or what a camera sees, with a model file."""
    from agent.vision.detector import load_detector
    from agent.vision.gallery import is_live

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
    report = print_json if as_json else print_lines if is_live(source) else print_table
    # Nothing else ends a camera, or a look at the last picture.
    ends_by = (KeyboardInterrupt,) if show or is_live(source) else ()
    with _page() if show else contextlib.nullcontext() as page, contextlib.suppress(*ends_by):
        report(_results(detector, itertools.islice(_pictures(source), frames), save, page))
        if page is not None and sys.stdin.isatty():
            threading.Event().wait()


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


@contextlib.contextmanager
def _page() -> Iterator[LivePage]:
    from agent.cli.live_page import LivePage, open_page

    with LivePage() as page:
        typer.echo(f"The pictures: {page.url}", err=True)
        open_page(page.url)
        yield page


def _pictures(source: str) -> Iterator[Picture]:
    from agent.vision.gallery import is_live, open_live, open_source

    if is_live(source):
        yield from open_live(source)
        return
    path = Path(source)
    if not path.exists():
        raise ConfigError(f"{source}: no such file or folder", hint=_SOURCES)
    total, pictures = open_source(path)
    yield from with_progress(pictures, "Detecting", total)


def _results(
    detector: Detector, pictures: Iterable[Picture], save: Path | None, page: LivePage | None
) -> Iterator[PictureResult]:
    for picture in pictures:
        result = _result(detector, picture)
        if save is not None or page is not None:
            jpeg = _drawn(picture, result)
            if save is not None:
                write_file(save / f"{picture.source.stem}-{picture.frame:06d}.jpg", jpeg)
            if page is not None:
                page.show(jpeg)
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


def _drawn(picture: Picture, result: PictureResult) -> bytes:
    from agent.vision.gallery import annotated

    shapes = [found.shape for found in result.objects if found.shape is not None]
    captions = [(f"{found.label} {found.score:.2f}", found.box) for found in result.objects]
    return annotated(picture.image, captions, shapes)
