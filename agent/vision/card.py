"""What a model file says about itself: Ultralytics' embedded metadata, read as data and never executed.

ONNX carries it as custom metadata properties, a .tflite as a zip archive appended to the file with
`metadata.json` or `temp_meta.txt` (a Python dict literal), as Ultralytics' exporter writes them
(docs.ultralytics.com, "Export"). All of it is hostile until the release's signature says otherwise.
"""

from __future__ import annotations

import ast
import json
import zipfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_TEXT_BYTES = 256 * 1024
_MAX_LABELS = 10_000
_MAX_KEYPOINTS = 1000
_ARCHIVE_NAMES = ("metadata.json", "temp_meta.txt")
_LITERAL_FAULTS = (ValueError, SyntaxError, TypeError, MemoryError, RecursionError)
_ARCHIVE_FAULTS = (
    zipfile.BadZipFile,
    zlib.error,
    OSError,
    EOFError,
    RuntimeError,
    NotImplementedError,
    ValueError,
)


@dataclass(frozen=True)
class ModelCard:
    """The parts of the metadata that decoding needs.

    Attributes:
        labels: Class names by class id.
        task: `detect`, or another of Ultralytics' tasks; not checked here.
        end_to_end: Whether the graph ends in final boxes instead of anchors.
        keypoints: Of a pose model: number of key points and values of each, 2 or 3.
    """

    labels: tuple[str, ...]
    task: str
    end_to_end: bool
    keypoints: tuple[int, int] | None = None


def read_card(metadata: Mapping[str, str]) -> ModelCard | None:
    """Return what the embedded texts say, or None when they are not Ultralytics'.

    Raises:
        ModelError: `model.metadata` when they claim to be but cannot be read.
    """
    if "names" not in metadata or "task" not in metadata:
        return None
    end_to_end = _literal(metadata.get("end2end", "False"), "end2end")
    arguments = _literal(metadata.get("args", "{}"), "args")
    nms = isinstance(arguments, dict) and bool(arguments.get("nms"))
    labels = _labels(_literal(metadata["names"], "names"))
    keypoints = _keypoints(_literal(metadata.get("kpt_shape", "None"), "kpt_shape"))
    return ModelCard(labels, metadata["task"], bool(end_to_end) or nms, keypoints)


def appended_metadata(path: str) -> dict[str, str]:
    """Return the metadata in the zip archive at the end of a .tflite file, empty where there is none.

    Raises:
        ModelError: `model.metadata` when the archive is there but damaged or too large.
    """
    try:
        if not zipfile.is_zipfile(path):
            return {}
        with zipfile.ZipFile(path) as archive:
            names = [name for name in _ARCHIVE_NAMES if name in archive.namelist()]
            if not names:
                return {}
            with archive.open(names[0]) as file:
                data = file.read(_MAX_TEXT_BYTES + 1)
    except _ARCHIVE_FAULTS as error:
        raise _unreadable(f"archive: {error}") from error
    return _texts(data)


def _texts(data: bytes) -> dict[str, str]:
    if len(data) > _MAX_TEXT_BYTES:
        raise _unreadable(f"more than {_MAX_TEXT_BYTES} bytes")
    text = data.decode(errors="replace")
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError):
        tree = _literal(text, "archive")
    if not isinstance(tree, dict):
        raise _unreadable(f"expected a mapping, found {type(tree).__name__}")
    return {
        str(key): value if isinstance(value, str) else repr(value) for key, value in tree.items()
    }


def _labels(names: Any) -> tuple[str, ...]:
    """Return names by class id from `{0: "person", …}` (keys also as text) or a list."""
    if isinstance(names, (list, tuple)):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not 0 < len(names) <= _MAX_LABELS:
        raise _unreadable("names is no mapping of class ids")
    try:
        by_id = {int(key): str(value) for key, value in names.items()}
    except (TypeError, ValueError) as error:
        raise _unreadable(f"names: {error}") from error
    if sorted(by_id) != list(range(len(by_id))):
        raise _unreadable("names does not number its classes from 0 without a gap")
    return tuple(by_id[number] for number in range(len(by_id)))


def _keypoints(shape: Any) -> tuple[int, int] | None:
    """Return `[17, 3]` as a pair: 1 to 1000 points of 2 or 3 values."""
    match shape:
        case None:
            return None
        case (int(points), int(values)) if 0 < points <= _MAX_KEYPOINTS and values in {2, 3}:
            return points, values
        case _:
            raise _unreadable(f"kpt_shape: expected [points, 2 or 3], found {str(shape)[:60]}")


def _literal(text: str, field: str) -> Any:
    if len(text) > _MAX_TEXT_BYTES:
        raise _unreadable(f"{field} is longer than {_MAX_TEXT_BYTES} bytes")
    if text in {"true", "false"}:
        return text == "true"
    try:
        return ast.literal_eval(text)
    except _LITERAL_FAULTS as error:
        raise _unreadable(f"{field}: {error}") from error


def _unreadable(problem: str) -> ModelError:
    return ModelError(
        f"the model's embedded metadata cannot be read: {problem}",
        code="model.metadata",
        hint="state family and labels yourself (--family, --labels)",
    )
