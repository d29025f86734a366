"""A folder with a recipe, the bundled model and labelled pictures."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.release.drafts import BUNDLED, vigil

MODEL = "parts-2.onnx"
FP32 = {"id": "onnx-fp32-320", "source": MODEL, "memory_mb": 256}
INT8 = {
    "id": "onnx-int8-320",
    "source": MODEL,
    "memory_mb": 256,
    "quantise": True,
    "budget": {"max_drop": 0.08, "max_class_drop": 0.2, "min_match": 0.7},
}
LITERT = {
    "id": "litert-int8-320",
    "source": "parts.tflite",
    "backend": "litert",
    "memory_mb": 256,
    "quantise": True,
    "budget": {"max_drop": 0.08, "max_class_drop": 0.2, "min_match": 0.7},
}
RECIPE: dict[str, Any] = {
    "schema": 1,
    "name": "parts",
    "version": "1.0",
    "class": "gate",
    "counter": 3,
    "validation": {"dataset": "truth.json", "images": "pictures"},
    "calibration": {"source": "pictures", "pictures": 4},
    "golden": {"images": ["pictures/000.png", "pictures/150.png"]},
    "drift": {"sources": ["pictures"]},
    "variants": [FP32, INT8],
}


@dataclass(frozen=True)
class Site:
    """A folder with a recipe, the bundled model and labelled pictures."""

    folder: Path

    def write(self, **changes: Any) -> Path:
        path = self.folder / "release.yaml"
        path.write_text(yaml.safe_dump(RECIPE | changes))
        return path

    def build(self, out: str, *options: object) -> str:
        recipe = ("--recipe", self.folder / "release.yaml", "--out", self.folder / out)
        return vigil("release", "build", *recipe, *options)


def site_in(folder: Path, scene: Path) -> Site:
    shutil.copytree(scene, folder, dirs_exist_ok=True)
    shutil.copy(BUNDLED / MODEL, folder)
    return Site(folder)
