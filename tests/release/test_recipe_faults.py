"""What is wrong with a recipe is told with file, place, what was expected and what was found, before anything is made."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from agent.cli.recipe import make_draft
from agent.errors import ConfigError, VigilError
from agent.release.recipe import recipe_schema
from agent.release.recipe_file import load_recipe
from tests.release.networks import needs_torch
from tests.release.recipes import FP32, INT8, LITERT, RECIPE, Site, site_in

ROOT = Path(__file__).parents[2]
CUT = {"id": "cut", "source": "a.pt", "size": 320, "memory_mb": 256, "prune": {"ratio": 0.3}}
LEARN = {"data": "truth.json"}


@pytest.fixture
def site(tmp_path: Path, scene: Path) -> Site:
    return site_in(tmp_path, scene)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"schema": 2}, r"at \$\.schema: expected 1, found 2"),
        ({"golden": {}}, r"at \$\.golden: expected images or a clip"),
        ({"variants": []}, r"at \$\.variants: expected at least one"),
        ({"variants": [FP32, FP32]}, r"at \$\.variants\[1\]\.id: expected a name of its own"),
        ({"variants": [FP32 | {"source": "no.onnx"}]}, r"at \$\.variants\[0\]\.source: .* none at"),
        ({"variants": [FP32 | {"source": "a.bin"}]}, r"\$\.variants\[0\]\.source: .* \.onnx or \.pt"),
        ({"variants": [FP32 | {"source": "a.pt"}]}, r"\$\.variants\[0\]\.size: .* found none"),
        ({"variants": [FP32 | {"size": 320}]}, r"\$\.variants\[0\]\.size: expected none"),
        ({"variants": [CUT | {"size": 100}]}, r"size.*multiple of 32|multiple of 32.*size"),
        ({"variants": [INT8], "calibration": None}, r"quantise: expected \$\.calibration"),
        ({"variants": [INT8 | {"precision": "int8"}]}, r"precision: expected fp32 .* found int8"),
        ({"variants": [INT8 | {"source": "a.tflite", "backend": "litert", "quantise": {"reduce_range": True}}]}, r"quantise\.reduce_range: expected false for litert"),
        ({"variants": [INT8 | {"half": True}]}, r"half: expected false where quantise is true"),
        ({"variants": [FP32 | {"half": True, "precision": "fp16"}]}, r"precision: expected fp32"),
        ({"variants": [FP32 | {"memory_mb": 0}]}, r"\$\.variants\[\.\.\.\]\.memory_mb|memory_mb"),
        ({"bugdet": {}}, r"bugdet"),
        ({"variants": [FP32 | {"prune": {"ratio": 0.3, "epochs": 0}}]}, r"prune: expected a checkpoint"),
        ({"variants": [FP32 | {"prune": {"ratio": 1.0}}]}, r"ratio|< 1\.0"),
        ({"variants": [CUT]}, r"\[0\]\.prune: expected \$\.training"),
        ({"training": LEARN, "variants": [CUT | {"prune": None, "distil": {}}]}, r"distil\.teacher: expected a checkpoint, for nothing"),
        ({"training": LEARN, "variants": [CUT | {"distil": {"teacher": "a.onnx"}}]}, r"distil\.teacher: .* \(\.pt\), found 'a\.onnx'"),
        ({"training": LEARN, "variants": [CUT | {"distil": {"classes": 0.0, "boxes": 0.0, "features": 0.0}}]}, r"weight above 0"),
        ({"variants": [CUT], "training": {"data": "no.yaml"}}, r"\$\.training\.data: .* none at"),
        ({"variants": [INT8 | {"quantise": {"ranges": "dynamic"}}]}, r"quantise\.ranges: expected static for onnxruntime"),
        ({"variants": [LITERT], "calibration": {"source": "pictures", "method": "percentile"}}, r"quantise: expected minmax"),
        ({"training": LEARN, "variants": [INT8 | {"quantise": {"aware": {}}}]}, r"quantise\.aware: expected a checkpoint"),
        ({"variants": [CUT | {"prune": None, "quantise": {"aware": {}}}]}, r"quantise\.aware: expected \$\.training"),
        ({"validation": {"dataset": "truth.json"}}, r"images.*\$\.validation|\$\.validation"),
    ],
)  # fmt: skip
def test_a_recipe_that_contradicts_itself_is_refused_by_place(
    site: Site, changes: dict[str, Any], words: str
) -> None:
    path = site.write(**changes)
    with pytest.raises(ConfigError, match=words) as refusal:
        load_recipe(path)
    assert str(path) in refusal.value.message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"calibration": {"source": "empty"}}, "empty: holds no pictures"),
        ({"drift": {"sources": ["empty"]}}, "empty: holds no pictures"),
        ({"golden": {"images": ["no-picture.png"]}}, r"no-picture\.png: "),
        ({"validation": {"dataset": "truth.json", "images": "empty"}}, "pictures are missing"),
        ({"validation": {"dataset": "no-labels.json", "images": "pictures"}}, r"no-labels\.json"),
    ],
)
def test_what_variants_are_judged_on_is_read_before_one_is_made(
    site: Site, changes: dict[str, Any], words: str
) -> None:
    (site.folder / "empty").mkdir()
    for name in ("no-picture.png", "no-labels.json", "a.pt"):
        (site.folder / name).write_bytes(b"rubbish")
    site.write(variants=[CUT | {"prune": {"ratio": 0.3, "epochs": 0}}], **changes)
    with pytest.raises(VigilError, match=words):
        make_draft(site.folder / "release.yaml")


@needs_torch
def test_a_training_device_that_is_not_there_is_named_before_one_is_made(site: Site) -> None:
    (site.folder / "a.pt").write_bytes(b"rubbish")
    site.write(training=LEARN | {"device": "cuda:99"}, variants=[CUT])
    with pytest.raises(ConfigError, match=r"training device: .* found 'cuda:99'") as refusal:
        make_draft(site.folder / "release.yaml")
    assert refusal.value.code == "optimise.device"
    assert list((site.folder / ".vigil-build").glob("*")) == []


def test_a_checkpoint_without_ultralytics_says_what_to_install(site: Site) -> None:
    if importlib.util.find_spec("ultralytics") is not None:
        pytest.skip("ultralytics is installed")
    (site.folder / "parts.pt").write_bytes(b"weights")
    site.write(variants=[FP32 | {"source": "parts.pt", "size": 320}])
    with pytest.raises(ConfigError, match="ultralytics") as refusal:
        make_draft(site.folder / "release.yaml")
    assert refusal.value.code == "export.missing"


def test_the_schema_fits_the_recipe_and_lies_in_the_docs() -> None:
    jsonschema.validate(RECIPE, json.loads(recipe_schema()))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(RECIPE | {"bugdet": {}}, json.loads(recipe_schema()))
    assert (ROOT / "docs/recipe.schema.json").read_bytes() == recipe_schema(), (
        "run `vigil release schema > docs/recipe.schema.json`"
    )
