"""Networks that can be trained, where torch is installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ARCHITECTURE = Path(__file__).parents[2] / "scripts/demo_model/parts-yolo11.yaml"
HAS_TORCH = all(
    importlib.util.find_spec(name) for name in ("torch", "torch_pruning", "ultralytics")
)
needs_torch = pytest.mark.skipif(
    not HAS_TORCH, reason="torch, torch-pruning or ultralytics is not installed (extra `release`)"
)


def exported(checkpoint: bytes, folder: Path) -> Path:
    from agent.release.export import export_checkpoint
    from agent.schema.values import BackendName, Precision

    (folder / "made.pt").write_bytes(checkpoint)
    file = folder / "made.onnx"
    made = export_checkpoint(folder / "made.pt", BackendName.ONNXRUNTIME, Precision.FP32, 96)
    file.write_bytes(made)
    return file
