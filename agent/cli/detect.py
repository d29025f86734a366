"""`vigil detect`: run a model on pictures, folders and videos, without any configuration."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import msgspec
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from agent.errors import CameraError, ConfigError, StorageError

if TYPE_CHECKING:
    import cv2
    import numpy as np
    from numpy.typing import NDArray

    from agent.vision.detector import Detector

_GREEN_BGR = (80, 220, 60)


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


class Finding(msgspec.Struct, frozen=True):
    """One object in one picture; `box` is (x_min, y_min, x_max, y_max) in its pixels."""

    label: str
    score: float
    box: list[float]


class PictureResult(msgspec.Struct, frozen=True):
    """What was found in one picture; `frame` is its number in a video, 0 for pictures."""

    source: str
    frame: int
    width: int
    height: int
    objects: list[Finding]
    stages_ms: dict[str, float]


class Picture(NamedTuple):
    """One input: `image` is BGR, shape (H, W, 3), uint8."""

    source: Path
    frame: int
    image: NDArray[np.uint8]


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
) -> None:
    """Find objects in pictures or a video with a model file."""
    from agent.vision.detector import load_detector

    detector = load_detector(
        model,
        backend=backend.value if backend else None,
        family=family.value if family else None,
        labels=_read_labels(labels) if labels else None,
        threads=threads,
        confidence=confidence,
        iou=iou,
    )
    total, pictures = open_source(source)
    steps = pictures if as_json else track(pictures, "Detecting", total, console=_stderr())
    _report(_results(detector, steps, save), as_json=as_json)


def open_source(source: Path) -> tuple[int, Iterator[Picture]]:
    """Return how many pictures a file or folder holds, and the pictures.

    Raises:
        CameraError: It holds none; later, a picture cannot be decoded.
    """
    import cv2

    from agent.vision.cameras.folder import IMAGE_SUFFIXES, pictures_in

    if source.is_dir() or source.suffix.lower() in IMAGE_SUFFIXES:
        paths = pictures_in(source) if source.is_dir() else [source]
        if not paths:
            raise CameraError(f"{source}: holds no pictures", code="camera.unreadable")
        return len(paths), (_read_picture(path) for path in paths)
    video = cv2.VideoCapture(str(source), cv2.CAP_FFMPEG)
    frames = int(video.get(cv2.CAP_PROP_FRAME_COUNT)) if video.isOpened() else 0
    if frames <= 0:
        raise CameraError(f"{source}: neither picture nor video", code="camera.unreadable")
    return frames, _read_video(source, video)


def _read_picture(path: Path) -> Picture:
    import cv2

    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise CameraError(f"{path}: no picture that can be read", code="camera.unreadable")
    return Picture(path, 0, image)  # type: ignore[arg-type] # cv2 cannot say uint8


def _read_video(source: Path, video: cv2.VideoCapture) -> Iterator[Picture]:
    number = 0
    while True:
        good, image = video.read()
        if not good:
            return
        yield Picture(source, number, image)  # type: ignore[arg-type] # cv2 cannot say uint8
        number += 1


def _read_labels(path: Path) -> list[str]:
    try:
        names = [line.strip() for line in path.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as class names: {error}") from error
    if not names:
        raise ConfigError(f"{path}: expected one class name a line, found none")
    return names


def _results(
    detector: Detector, pictures: Iterable[Picture], save: Path | None
) -> Iterator[PictureResult]:
    for picture in pictures:
        found = detector.detect(picture.image)
        result = PictureResult(
            source=str(picture.source),
            frame=picture.frame,
            width=picture.image.shape[1],
            height=picture.image.shape[0],
            objects=[
                Finding(detector.labels[label], round(score, 4), [round(side, 1) for side in box])
                for label, score, *box in found.golden()
            ],
            stages_ms={stage: round(spent, 3) for stage, spent in found.stages_ms.items()},
        )
        if save is not None:
            _save(picture, result, save)
        yield result


def _save(picture: Picture, result: PictureResult, folder: Path) -> None:
    import cv2

    canvas = picture.image.copy()
    for found in result.objects:
        x_min, y_min, x_max, y_max = (round(side) for side in found.box)
        cv2.rectangle(canvas, (x_min, y_min), (x_max, y_max), _GREEN_BGR, 2)
        text, place = f"{found.label} {found.score:.2f}", (x_min + 2, max(12, y_min - 4))
        cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, _GREEN_BGR, 1)
    name = f"{picture.source.stem}-{picture.frame:06d}.jpg"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(cv2.imencode(".jpg", canvas)[1].tobytes())
    except OSError as error:
        raise StorageError(f"{folder / name}: {error.strerror}") from error


def _report(results: Iterator[PictureResult], *, as_json: bool) -> None:
    if as_json:
        for result in results:
            typer.echo(msgspec.json.encode(result).decode())
        return
    table = Table("picture", "frame", "objects", "pre ms", "infer ms", "post ms")
    for result in results:
        times = [f"{result.stages_ms[stage]:.1f}" for stage in ("pre", "infer", "post")]
        name = Path(result.source).name
        table.add_row(name, str(result.frame), _summary(result.objects), *times)
    Console().print(table)


def _summary(objects: Sequence[Finding]) -> str:
    names = sorted({found.label for found in objects})
    counts = [(sum(found.label == name for found in objects), name) for name in names]
    return ", ".join(f"{count} {name}" for count, name in counts) or "-"


def _stderr() -> Console:
    return Console(stderr=True)
