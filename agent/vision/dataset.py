"""Labelled pictures in COCO's instances format: read strictly, matched to a model's classes.

Category ids are the model's class ids. Pictures lie in a folder under their `file_name`, or are the frames
of a video whose numbers are the image ids.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from agent.errors import ConfigError
from agent.schema.document import Malformed, parse_json
from agent.vision.gallery import open_source
from agent.vision.tracking_accuracy import Tracked

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

_Side = Annotated[float, msgspec.Meta(ge=0.0, le=1e6)]
_Corner = Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)]


class _Image(msgspec.Struct, frozen=True):
    id: int
    file_name: str


class _Annotation(msgspec.Struct, frozen=True):
    image_id: int
    category_id: int
    bbox: tuple[_Corner, _Corner, _Side, _Side]
    area: float | None = None
    iscrowd: int = 0
    track_id: int | None = None


class _Category(msgspec.Struct, frozen=True):
    id: int
    name: str


class _Instances(msgspec.Struct, frozen=True):
    images: Annotated[list[_Image], msgspec.Meta(min_length=1)]
    annotations: list[_Annotation]
    categories: Annotated[list[_Category], msgspec.Meta(min_length=1)]


@dataclass(frozen=True)
class Dataset:
    """Labelled pictures.

    Attributes:
        path: Where the labels were read.
        images: Folder of the pictures, or a video.
        files: File names by image id.
        names: Class names by category id.
        truth: The labels as pycocotools takes them.
        tracks: Labelled objects of every image, by its id, where the labels say which are the same.
    """

    path: Path
    images: Path
    files: dict[int, str]
    names: dict[int, str]
    truth: dict[str, Any]
    tracks: dict[int, list[Tracked]] | None = None

    def pictures(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Yield image id and BGR picture, shape (H, W, 3), of every image.

        Raises:
            CameraError: A picture cannot be decoded.
            ConfigError: The video is shorter than the labels.
        """
        yield from self._frames() if self.images.is_file() else self._files()

    def require_classes(self, labels: Sequence[str]) -> None:
        """Refuse a model whose classes are not the dataset's.

        Raises:
            ConfigError: `dataset.classes`, naming the first class that differs.
        """
        expected = dict(enumerate(labels))
        for number in sorted(expected.keys() | self.names.keys()):
            ours, theirs = expected.get(number), self.names.get(number)
            if ours is None or theirs is None or ours.casefold() != theirs.casefold():
                raise ConfigError(
                    f"{self.path}: category {number} is {_shown(theirs)}, class {number} of the model's "
                    f"{len(expected)} is {_shown(ours)}",
                    code="dataset.classes",
                    hint="number the categories as the model does, from 0; if only names differ, "
                    "state the dataset's with --labels",
                )

    def _files(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        for number, name in self.files.items():
            _, pictures = open_source(self.images / name)
            yield number, next(pictures).image

    def _frames(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        missing = set(self.files)
        for picture in open_source(self.images)[1]:
            if picture.frame in missing:
                missing.remove(picture.frame)
                yield picture.frame, picture.image
        if missing:
            raise ConfigError(
                f"{self.images}: {len(missing)} labelled frames are not in the video, first {min(missing)}",
                code="dataset.pictures",
            )


def load_dataset(path: Path, images: Path) -> Dataset:
    """Read labels, and make sure that their pictures are there.

    Raises:
        ConfigError: `dataset.labels` when the file cannot be read or contradicts itself, `dataset.pictures`
            when pictures are missing.
    """
    try:
        instances = parse_json(path.read_bytes(), _Instances)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", code="dataset.labels") from error
    except Malformed as error:
        raise _faulty(path, str(error)) from error
    files = {image.id: image.file_name for image in instances.images}
    names = {category.id: category.name for category in instances.categories}
    _require_unique(path, "images", [image.id for image in instances.images])
    _require_unique(path, "categories", [category.id for category in instances.categories])
    for number, one in enumerate(instances.annotations):
        _require_known(path, f"$.annotations[{number}].image_id", one.image_id, files)
        _require_known(path, f"$.annotations[{number}].category_id", one.category_id, names)
    if not images.is_file():
        _require_pictures(images, files)
    return Dataset(path, images, files, names, _truth(instances), _tracks(instances))


def _truth(instances: _Instances) -> dict[str, Any]:
    """Return the labels for pycocotools, which takes an annotation numbered 0 for none at all."""
    return {
        "images": [{"id": image.id} for image in instances.images],
        "categories": [{"id": one.id, "name": one.name} for one in instances.categories],
        "annotations": [
            {
                "id": number,
                "image_id": one.image_id,
                "category_id": one.category_id,
                "bbox": list(one.bbox),
                "area": one.bbox[2] * one.bbox[3] if one.area is None else one.area,
                "iscrowd": one.iscrowd,
            }
            for number, one in enumerate(instances.annotations, 1)
        ],
    }


def _tracks(instances: _Instances) -> dict[int, list[Tracked]] | None:
    tracks: dict[int, list[Tracked]] = {image.id: [] for image in instances.images}
    for one in instances.annotations:
        if one.track_id is None:
            return None
        x, y, width, height = one.bbox
        # Track numbers are positive, whatever the labels count from.
        box = (x, y, x + width, y + height)
        tracks[one.image_id].append(Tracked(one.track_id + 1, one.category_id, box))
    return tracks


def _require_unique(path: Path, field: str, ids: Sequence[int]) -> None:
    repeated = [number for number, times in Counter(ids).items() if times > 1]
    if repeated:
        raise _faulty(path, f"at $.{field}: expected unique ids, found {repeated[0]} twice")


def _require_known(path: Path, place: str, number: int, known: dict[int, str]) -> None:
    if number not in known:
        raise _faulty(path, f"at {place}: {number} is not listed")


def _require_pictures(folder: Path, files: dict[int, str]) -> None:
    missing = [name for name in files.values() if not (folder / name).is_file()]
    if missing:
        raise ConfigError(
            f"{folder}: {len(missing)} of {len(files)} pictures are missing, first {missing[0]}",
            code="dataset.pictures",
            hint="--images names the folder that the dataset's file names start from, or a video",
        )


def _faulty(path: Path, problem: str) -> ConfigError:
    return ConfigError(
        f"{path}: {problem}",
        code="dataset.labels",
        hint="expected COCO's instances format: images, annotations with bbox, categories",
    )


def _shown(name: str | None) -> str:
    return "missing" if name is None else repr(name)
