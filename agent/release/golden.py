"""The golden set: inputs with the boxes that each variant must find again on every device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import msgspec

from agent.errors import PackageError
from agent.schema.manifest import GoldenFrame, GoldenSet, StageSketch

GoldenBox = tuple[int, float, float, float, float, float]


def golden_set(
    images: Sequence[bytes],
    expected: Mapping[str, Sequence[Sequence[GoldenBox]]],
    *,
    confidence: float,
    iou: float,
    stages: Mapping[str, Sequence[StageSketch]] = MappingProxyType({}),
) -> GoldenSet:
    """Pair each image with what every variant found in it.

    Args:
        images: PNG or JPEG files.
        expected: By variant id: for each image, boxes `(label, score, x_min, y_min, x_max, y_max)` in pixels.
        confidence: Least score, in [0, 1], that the boxes were found with.
        iou: Greatest overlap, in [0, 1], of two boxes of one class that they were found with.
        stages: By variant id: for each image, what led to its boxes; where it lacks, a device cannot say what differs.

    Raises:
        PackageError: No images, no variants, or a variant without boxes for some image.
    """
    if not images or not expected:
        raise PackageError("golden set: expected at least one image and one variant, found none")
    for variant, per_image in (*expected.items(), *stages.items()):
        if len(per_image) != len(images):
            found = f"{len(per_image)} for {len(images)} images"
            raise PackageError(
                f"golden set: variant {variant}: expected one entry per image, found {found}"
            )
    frames = [
        GoldenFrame(
            image,
            {variant: list(boxes[index]) for variant, boxes in expected.items()},
            {variant: sketches[index] for variant, sketches in stages.items()},
        )
        for index, image in enumerate(images)
    ]
    return GoldenSet(frames, confidence, iou)


def encode_golden(golden: GoldenSet) -> bytes:
    """Return the plaintext of the sealed golden set (MessagePack)."""
    return msgspec.msgpack.encode(golden)
