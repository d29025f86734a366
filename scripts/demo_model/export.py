"""Export trained weights: ONNX with weights stored as float16, or LiteRT with int8 weights.

export.py onnx|litert WEIGHTS.pt OUT_FILE
"""

from __future__ import annotations

import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from ultralytics import YOLO

SIZE = 320
LEAST_ELEMENTS = 64
"""Smaller constants (shapes, scales, strides) stay float32."""


def load(weights: Path) -> YOLO:
    """Load the weights and forget where their training data lay: it would go into the metadata."""
    yolo = YOLO(str(weights))
    yolo.model.args = {**yolo.model.args, "data": ""}
    return yolo


def split(exported: bytes) -> tuple[bytes, dict[str, Any]]:
    """A LiteRT file's flatbuffer, and the metadata that lie behind it as a zip archive, without their date."""
    with zipfile.ZipFile(io.BytesIO(exported)) as archive:
        entry = archive.getinfo("metadata.json")
        metadata: dict[str, Any] = json.loads(archive.read(entry))
    del metadata["date"]
    return exported[: entry.header_offset], metadata


def to_litert(weights: Path, out: Path) -> None:
    """Float32 in, out and between; int8 weights. Boxes come out as fractions of the input's side."""
    made = load(weights).export(format="litert", imgsz=SIZE, quantize="w8a32", device="cpu")
    network, metadata = split(Path(made).read_bytes())
    out.write_bytes(network)
    with zipfile.ZipFile(out, "a", zipfile.ZIP_DEFLATED) as archive:
        entry = zipfile.ZipInfo("metadata.json", date_time=(1980, 1, 1, 0, 0, 0))
        archive.writestr(entry, json.dumps(metadata))


def to_onnx(weights: Path, out: Path) -> None:
    """Static 1x3x320x320, opset 17, simplified; boxes in pixels."""
    made = Path(
        load(weights).export(
            format="onnx", imgsz=SIZE, opset=17, simplify=True, dynamic=False, device="cpu"
        )
    )
    store_as_float16(made, out)
    check_same(made, out)
    made.unlink()


def store_as_float16(source: Path, out: Path) -> None:
    """Halve the file: large constants become float16, a Cast behind each gives float32 back. All computing stays float32."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(str(source))
    dated = [entry for entry in model.metadata_props if entry.key == "date"]
    for entry in dated:
        model.metadata_props.remove(entry)
    casts = []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.size >= LEAST_ELEMENTS:
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}/half"))
            casts.append(
                helper.make_node(
                    "Cast", [f"{name}/half"], [name], name=f"{name}/widen", to=TensorProto.FLOAT
                )
            )
    nodes = casts + list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(out))


def check_same(one: Path, other: Path, tolerance: float = 1e-2) -> None:
    """Both files must give the same scores, and the same boxes relative to the input's size, on noise."""
    import onnxruntime

    image = np.random.default_rng(3).random((1, 3, SIZE, SIZE), np.float32)
    results = [
        onnxruntime.InferenceSession(str(path)).run(None, {"images": image})[0]
        for path in (one, other)
    ]
    scale = np.where(np.arange(results[0].shape[1]) < 4, SIZE, 1.0)[None, :, None]
    difference = float(np.abs((results[0] - results[1]) / scale).max())
    print(f"{other.name}: largest difference to full float32 weights {difference:.2e}")
    if not difference < tolerance:
        raise SystemExit(f"{other.name} differs from {one.name} by {difference:.3g}")


if __name__ == "__main__":
    {"onnx": to_onnx, "litert": to_litert}[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
