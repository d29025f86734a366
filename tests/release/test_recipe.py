"""`vigil release build --recipe`: everything from source to sealed files, nothing done twice, every fault named."""

import importlib.util
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import onnx
import pytest
import yaml

from agent.cli.recipe import make_draft
from agent.errors import ConfigError, PackageError
from agent.release.cache import Cache
from agent.release.recipe import load_recipe, recipe_schema
from agent.schema.document import parse_json
from agent.schema.manifest import Manifest
from tests.release.drafts import BUNDLED, vigil

ROOT = Path(__file__).parents[2]
MODEL = "parts-2.onnx"
FP32 = {"id": "onnx-fp32-320", "source": MODEL, "memory_mb": 256}
INT8 = {
    "id": "onnx-int8-320",
    "source": MODEL,
    "memory_mb": 256,
    "quantise": True,
    "budget": {"max_drop": 0.08, "max_class_drop": 0.2, "min_match": 0.7},
}
CUT = {"id": "cut", "source": "a.pt", "size": 320, "memory_mb": 256, "prune": {"ratio": 0.3}}
LEARN = {"data": "truth.json"}
RECIPE_CLASSES = {"bolt", "nut", "washer", "gear", "bracket"}
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


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, scene: Path) -> Site:
    """A release built once, as `out` with the key `out.key`."""
    site = site_in(tmp_path_factory.mktemp("site"), scene)
    site.write()
    site.build("out", "--key-out", site.folder / "out.key")
    return site


@pytest.fixture
def site(tmp_path: Path, scene: Path) -> Site:
    return site_in(tmp_path, scene)


def test_a_recipe_becomes_a_sealed_release(built: Site) -> None:
    manifest = parse_json((built.folder / "out/manifest.json").read_bytes(), Manifest)
    by_id = {one.id: one for one in manifest.variants}
    assert list(by_id) == ["onnx-fp32-320", "onnx-int8-320"]
    assert by_id["onnx-int8-320"].precision.value == "int8"
    assert 0.6 < by_id["onnx-int8-320"].accuracy < 0.9
    assert by_id["onnx-int8-320"].payload.size < 0.75 * by_id["onnx-fp32-320"].payload.size
    assert manifest.labels == ["bolt", "nut", "washer", "gear", "bracket"]
    assert manifest.release_counter == 3
    assert set(manifest.drift_baseline.variants) == set(by_id)
    assert (built.folder / "out.key").stat().st_size == 32


def test_what_each_step_gained_and_lost_is_kept(built: Site) -> None:
    told = json.loads((built.folder / ".vigil-build/steps.json").read_bytes())["steps"]
    assert [(one["of"], one["step"]) for one in told] == [
        ("onnx-int8-320", "source"),
        ("onnx-int8-320", "int8"),
    ]
    source, int8 = told
    assert int8["size_bytes"] < 0.75 * source["size_bytes"]
    assert int8["macs"] == source["macs"] > 0
    assert int8["worst_class"] in RECIPE_CLASSES
    assert (built.folder / ".vigil-build/steps-onnx-int8-320.png").exists()


def test_what_ships_says_nothing_about_itself(built: Site) -> None:
    draft = yaml.safe_load((built.folder / ".vigil-build/draft.yaml").read_text())
    for variant in draft["variants"]:
        model = onnx.load(built.folder / ".vigil-build" / variant["model"])
        assert not model.metadata_props
        assert not any(node.name for node in model.graph.node)


def test_a_second_run_makes_nothing_and_the_same_key_gives_the_same_bytes(built: Site) -> None:
    told = built.build("again", "--key", built.folder / "out.key")
    lines = (line for line in told.splitlines() if line.startswith("  "))
    steps = [line.strip() for line in lines if "Before and after" not in line]
    assert len(steps) == 10
    assert all(line.endswith(": known") for line in steps)
    first, second = (
        {path.name: path.read_bytes() for path in (built.folder / name).iterdir()}
        for name in ("out", "again")
    )
    assert first == second


def test_only_what_changed_is_made_again(built: Site, tmp_path: Path) -> None:
    shutil.copytree(built.folder, tmp_path / "copy")
    site = Site(tmp_path / "copy")
    site.write(version="1.1", drift={"sources": ["pictures"], "night_below": 40.0})
    before = set((site.folder / ".vigil-build").iterdir())
    make_draft(site.folder / "release.yaml")
    made = set((site.folder / ".vigil-build").iterdir()) - before
    assert [path.name.partition("-")[0] for path in made] == ["baseline"]


def test_a_variant_over_its_budget_makes_no_release(site: Site) -> None:
    shutil.copy(BUNDLED / "parts-1.onnx", site.folder)
    weaker = FP32 | {"id": "older", "source": "parts-1.onnx", "reference": MODEL}
    site.write(variants=[FP32, weaker], drift=None)
    with pytest.raises(PackageError) as refusal:
        site.build("out", "--key-out", site.folder / "out.key")
    assert refusal.value.code == "package.gate"
    assert "older: loses" in refusal.value.message
    assert not (site.folder / "out.key").exists()
    assert not (site.folder / "out").exists()


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
        ({"variants": [INT8], "calibration": None}, r"quantise: expected \$\.calibration"),
        ({"variants": [INT8 | {"precision": "int8"}]}, r"precision: expected fp32 .* found int8"),
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


def test_a_step_that_is_cut_off_leaves_nothing_and_is_done_again(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"one")
    told: list[tuple[str, bool]] = []
    cache = Cache(tmp_path / "work", lambda step, known: told.append((step, known)))

    def cut_off() -> bytes:
        raise KeyboardInterrupt

    make = source.read_bytes
    with pytest.raises(KeyboardInterrupt):
        cache.file("copy", ".txt", {"source": source}, cut_off)
    assert not list((tmp_path / "work").iterdir())
    first = cache.file("copy", ".txt", {"source": source}, make)
    assert cache.file("copy", ".txt", {"source": source}, cut_off) == first
    source.write_bytes(b"other")
    assert cache.file("copy", ".txt", {"source": source}, make).read_bytes() == b"other"
    assert [known for _, known in told] == [False, False, True, False]


def test_a_folder_is_known_by_names_and_contents(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "a").write_bytes(b"1")
    cache = Cache(tmp_path / "work", lambda _step, _known: None)
    digests = [cache.digest(folder)]
    (folder / "b").write_bytes(b"1")
    digests.append(cache.digest(folder))
    (folder / "b").rename(folder / "c")
    digests.append(cache.digest(folder))
    assert len(set(digests)) == 3
