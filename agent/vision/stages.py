"""At which stage a golden picture went wrong here: sketches of every stage, and the first that differs from its makers'.

A sketch is coarse: means over a grid. It bears another JPEG decoder, resampler's rounding or arithmetic of a runtime, and
shows what changes a result: another order of colours, scale, size, place or network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.schema.drift import GRID
from agent.schema.manifest import StageSketch

if TYPE_CHECKING:
    from agent.vision.backends import TensorInfo
    from agent.vision.detector import Detector

_CELLS = GRID[0] * GRID[1]
_PARTS = 64
# Grey levels: decoders and resamplers differ by less.
_SAME_LEVELS = 3.0
# Share of the usual detail; another interpolation changes a seventh to a half, a JPEG decoder a hundredth.
_SAME_DETAIL = 0.1
# Share of the greatest value of the input: less than a step of INT8 and the levels above.
_SAME_INPUT = 0.02
# Share of the length of all outputs together: FP16 and other kernels stay below.
_SAME_OUTPUT = 0.05
# Correlation from which one input is taken for another one, scaled and shifted.
_AFFINE = 0.99
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Divergence:
    """The first stage that differs, what is so, and what it comes from most likely."""

    stage: str
    what: str
    likely: str

    def __str__(self) -> str:
        return f"the first stage that differs is {self.stage}: {self.what}; likely {self.likely}"


def sketch(detector: Detector, image_bgr: NDArray[np.uint8]) -> StageSketch:
    """Run a picture, shape (H, W, 3), through the stages before decoding and sketch each of them.

    Raises:
        ModelError: The runtime gives up.
    """
    scaled = detector.letterbox.scale(image_bgr)
    place = detector.letterbox.paint(scaled)
    entered = _input(detector.backend.buffer, detector.backend.input, detector.input.layout)
    return StageSketch(
        decoded=_picture(image_bgr),
        scaled=_picture(scaled.image),
        place=(place.width, place.height, place.left, place.top),
        entered=_rounded(_cells(entered)),
        outputs=[_rounded(_parts(output)) for output in detector.infer()],
    )


def first_divergence(usual: StageSketch, found: StageSketch, *, delegate: str = "") -> Divergence:
    """Return the first stage whose sketch is another one; the decoding of outputs where all are the same.

    Args:
        usual: As the makers of the release saw it.
        found: As it is here.
        delegate: What the network runs on beside the CPU; empty for the CPU alone.
    """
    return (
        _of_decoding(usual, found)
        or _of_scaling(usual, found)
        or _of_input(usual, found)
        or _of_outputs(usual, found, delegate)
        or Divergence(
            "post",
            "the network's outputs are the same, the boxes are not",
            "another version of the agent, or the variant's family, box_units or task",
        )
    )


def _of_decoding(usual: StageSketch, found: StageSketch) -> Divergence | None:
    before, now = _levels(usual.decoded), _levels(found.decoded)
    if _is_near(before, now, _SAME_LEVELS):
        return None
    if _is_near(before[:, ::-1], now, _SAME_LEVELS):
        return _exchanged("the decoded picture", "a picture library that gives RGB")
    return Divergence(
        "decode",
        _furthest(before, now, "grey levels"),
        "another picture library or a damaged picture",
    )


def _of_scaling(usual: StageSketch, found: StageSketch) -> Divergence | None:
    if usual.place != found.place:
        what = f"it is placed at {found.place} (width, height, left, top), not {usual.place}"
        return Divergence("resize", what, "the variant's input size, letterbox or fit")
    before, now = _levels(usual.scaled), _levels(found.scaled)
    if not _is_near(before, now, _SAME_LEVELS):
        what = _furthest(before, now, "grey levels")
        return Divergence("resize", what, "pictures that are stretched or cut otherwise")
    detail, here = (float(np.mean(one.scaled[3 * _CELLS :])) for one in (usual, found))
    if abs(here - detail) > _SAME_DETAIL * max(detail, 1.0):
        what = f"mean detail is {here:.1f}, not {detail:.1f}"
        return Divergence("resize", what, "another interpolation")
    return None


def _of_input(usual: StageSketch, found: StageSketch) -> Divergence | None:
    before, now = _levels(usual.entered), _levels(found.entered)
    limit = _SAME_INPUT * max(float(np.abs(before).max()), 1e-9)
    if _is_near(before, now, limit):
        return None
    if _is_near(before[:, ::-1], now, limit):
        return _exchanged("the network's input", "the variant's input.colour")
    if np.corrcoef(before.ravel(), now.ravel())[0, 1] > _AFFINE:
        factor, shift = np.polyfit(before.ravel(), now.ravel(), 1)
        what = f"values are {factor:.4g} times what they were, {shift:+.3g}"
        return Divergence(
            "normalisation", what, "the variant's input.scale, or a runtime that normalises, too"
        )
    what = _furthest(before, now, "in the input's values")
    return Divergence("normalisation", what, "padding, layout, or the input's quantisation")


def _of_outputs(usual: StageSketch, found: StageSketch, delegate: str) -> Divergence | None:
    shapes = [[len(output) for output in one.outputs] for one in (usual, found)]
    if shapes[0] == shapes[1]:
        before, now = (np.concatenate(one.outputs) for one in (usual, found))
        share = float(np.linalg.norm(now - before) / max(float(np.linalg.norm(before)), 1e-9))
        if share <= _SAME_OUTPUT:
            return None
        what = f"the same input gives outputs that are {share:.0%} apart"
    else:
        what = f"{len(found.outputs)} outputs, not {len(usual.outputs)}, or of other sizes"
    if delegate:
        likely = f"{delegate}: take it out of the profile's runtime and test again"
        return Divergence("delegate", what, likely)
    return Divergence("runtime", what, "another version of the runtime, or a damaged model")


def _exchanged(where: str, likely: str) -> Divergence:
    return Divergence("colour order", f"red and blue are exchanged in {where}", likely)


def _is_near(before: Values, now: Values, limit: float) -> bool:
    return before.shape == now.shape and bool(np.abs(before - now).max() <= limit)


def _furthest(before: Values, now: Values, unit: str) -> str:
    return f"a part of the picture is {np.abs(before - now).max():.3g} {unit} apart"


def _levels(sketched: list[float]) -> Values:
    """Return the channels of each cell, shape (cells, 3)."""
    return np.array(sketched[: 3 * _CELLS]).reshape(-1, 3)


def _picture(image_bgr: NDArray[np.uint8]) -> list[float]:
    grey = cv2.cvtColor(image_bgr, cv2.COLOR_BGR2GRAY)
    detail = np.abs(cv2.Laplacian(grey, cv2.CV_32F))
    return _rounded(np.concatenate([_cells(image_bgr), _cells(detail)]))


def _input(buffer: NDArray[Any], tensor: TensorInfo, layout: str) -> NDArray[np.float32]:
    """Return the input as real values, shape (H, W, 3)."""
    values = buffer[0].astype(np.float32)
    if tensor.scale:
        values = (values - tensor.zero_point) * tensor.scale
    return np.ascontiguousarray(values.transpose(1, 2, 0)) if layout == "nchw" else values


def _cells(plane: NDArray[Any]) -> NDArray[Any]:
    rows, columns = GRID
    return np.asarray(cv2.resize(plane, (columns, rows), interpolation=cv2.INTER_AREA)).ravel()


def _parts(output: NDArray[np.float32]) -> Values:
    return np.array([part.mean() for part in np.array_split(output.ravel(), _PARTS) if part.size])


def _rounded(values: NDArray[Any]) -> list[float]:
    return [float(f"{value:.5g}") for value in values]
