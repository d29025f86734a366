"""Checkpoints (.pt) to model files, by ultralytics, which is AGPL-3.0 and an extra of the workstation: see the README."""

from __future__ import annotations

import contextlib
import io
import logging
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import onnx

from agent.errors import ConfigError, PackageError
from agent.release.litert_archive import dateless
from agent.schema.values import BackendName, Precision

OPSET = 17
# How LiteRT's exporter names what weights and activations become.
_LITERT_PRECISIONS = {Precision.FP32: None, Precision.DYNAMIC_INT8: "w8a32"}


def export_checkpoint(
    checkpoint: Path, backend: BackendName, precision: Precision, size: int
) -> bytes:
    """Return the model file of a checkpoint: input of a fixed `size` x `size`, batch 1, no date in it.

    ONNX is float32 with opset 17, simplified; it serves TensorRT, too, whose engine and precision the device makes.

    Raises:
        ConfigError: ultralytics is not installed.
        PackageError: The checkpoint cannot be read or exported, or not to this precision.
    """
    arguments = _arguments(backend, precision)
    yolo_of = _ultralytics()
    with tempfile.TemporaryDirectory(prefix="vigil-export-") as folder:
        # The exporter writes beside its input.
        copy = Path(folder) / checkpoint.name
        shutil.copy(checkpoint, copy)
        try:
            yolo = yolo_of(str(copy))
            # Where the training data lay would go into the metadata.
            yolo.model.args = {**yolo.model.args, "data": ""}
            # Standard output is for what a command tells, and LiteRT's converter prints its progress there.
            with contextlib.redirect_stdout(sys.stderr):
                made = yolo.export(imgsz=size, device="cpu", verbose=False, **arguments)
        except (RuntimeError, ValueError, TypeError, KeyError, AttributeError, OSError) as error:
            why = str(error).partition("\n")[0]
            message = f"{checkpoint}: cannot be exported to {backend.value}: {why}"
            raise PackageError(message, code="package.model") from error
        return _dateless(Path(made).read_bytes(), backend)


def _arguments(backend: BackendName, precision: Precision) -> dict[str, Any]:
    if backend is not BackendName.LITERT:
        if precision is not Precision.FP32 and backend is BackendName.ONNXRUNTIME:
            message = f"a checkpoint is exported to fp32 ONNX, not to {precision.value}"
            raise PackageError(message, hint="for INT8 say `quantise: true`", code="package.model")
        return {"format": "onnx", "opset": OPSET, "simplify": True, "dynamic": False}
    if precision not in _LITERT_PRECISIONS:
        known = " or ".join(one.value for one in _LITERT_PRECISIONS)
        message = f"a checkpoint is exported to LiteRT as {known}, not as {precision.value}"
        raise PackageError(message, code="package.model")
    quantised = _LITERT_PRECISIONS[precision]
    return {"format": "litert"} | ({"quantize": quantised} if quantised else {})


def _ultralytics() -> Any:
    try:
        from ultralytics import YOLO
    except ImportError as error:
        raise ConfigError(
            "a checkpoint needs ultralytics, which is not installed",
            code="export.missing",
            hint="install the extra `release` (docs/releases.md; AGPL-3.0, see the README), or export it elsewhere and give the .onnx file",
        ) from error
    logging.getLogger("ultralytics").setLevel(logging.ERROR)
    return YOLO


def _dateless(model: bytes, backend: BackendName) -> bytes:
    """Return the file without the day of its export, so that the same checkpoint gives the same bytes."""
    if backend is BackendName.LITERT:
        return dateless(model)
    parsed = onnx.load(io.BytesIO(model))
    kept = [entry for entry in parsed.metadata_props if entry.key != "date"]
    del parsed.metadata_props[:]
    parsed.metadata_props.extend(kept)
    return bytes(parsed.SerializeToString(deterministic=True))
