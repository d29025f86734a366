"""`vigil release build --recipe`: everything from source to sealed files, and nothing done twice."""

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
import yaml

from agent.cli.golden import golden_pictures
from agent.cli.recipe import make_draft
from agent.errors import ConfigError, PackageError
from agent.release.cache import Cache
from agent.schema.document import parse_json
from agent.schema.manifest import Manifest
from tests.release.drafts import BUNDLED, CLIP
from tests.release.litert_files import write_float_litert
from tests.release.recipes import FP32, LITERT, MODEL, Site, site_in

RECIPE_CLASSES = {"bolt", "nut", "washer", "gear", "bracket"}


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


def test_every_variant_is_shown_with_cost_accuracy_and_verdict(built: Site) -> None:
    told = json.loads((built.folder / ".vigil-build/variants.json").read_bytes())["variants"]
    steps = {one["variant"]: [step["step"] for step in one["steps"]] for one in told}
    assert steps == {"onnx-fp32-320": ["source"], "onnx-int8-320": ["source", "int8"]}
    assert [one["passed"] for one in told] == [True, True]
    source, int8 = told[1]["steps"]
    assert told[0]["steps"] == [source]
    assert (source["drop"], source["worst_class"]) == (0.0, "")
    assert int8["size_bytes"] < 0.85 * source["size_bytes"]
    assert int8["macs"] == source["macs"] > 0
    assert int8["infer_ms"] > 0
    assert int8["drop"] == pytest.approx(source["map50_95"] - int8["map50_95"], abs=1e-4)
    assert int8["worst_class"] in RECIPE_CLASSES
    assert (built.folder / ".vigil-build/variants.png").read_bytes().startswith(b"\x89PNG")


def test_what_ships_says_nothing_about_itself(built: Site) -> None:
    draft = yaml.safe_load((built.folder / ".vigil-build/draft.yaml").read_text())
    for variant in draft["variants"]:
        model = onnx.load(built.folder / ".vigil-build" / variant["model"])
        assert not model.metadata_props
        assert not any(node.name for node in model.graph.node)


def test_a_second_run_makes_nothing_and_the_same_key_gives_the_same_bytes(built: Site) -> None:
    told = built.build("again", "--key", built.folder / "out.key")
    steps = re.findall(r"^  (\w+)(: known)?$", told, re.MULTILINE)
    assert len(steps) == 10
    assert all(known for _, known in steps)
    first, second = (
        {path.name: path.read_bytes() for path in (built.folder / name).iterdir()}
        for name in ("out", "again")
    )
    assert first == second


def interrupted_at(step: str, site: Site) -> int:
    """Build in a process of its own, press Ctrl-C when it says that it begins `step`; return its exit status."""
    command = [sys.executable, "-m", "agent", "release", "build", "--recipe", "release.yaml"]
    command += ["--out", "other", "--key-out", "other.key"]
    with subprocess.Popen(
        command, cwd=site.folder, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stderr is not None
        told = ""
        for line in process.stderr:
            told += line
            if line.rstrip("\n") == f"  {step}":
                process.send_signal(signal.SIGINT)
    assert "Traceback" not in told
    return process.returncode


def test_ctrl_c_twice_leaves_nothing_half_made_and_the_third_run_makes_the_same(
    built: Site, tmp_path: Path
) -> None:
    site = Site(tmp_path / "copy")
    shutil.copytree(built.folder, site.folder)
    work = site.folder / ".vigil-build"
    draft = (work / "draft.yaml").read_bytes()
    (int8,) = work.glob("int8-*")
    quantised = int8.read_bytes()
    int8.unlink()
    left = {path.name for path in work.iterdir()}
    for _ in range(2):
        assert interrupted_at("int8", site) == 130
        assert {path.name for path in work.iterdir()} == left
        assert not list(site.folder.glob("other*"))
    made = make_draft(site.folder / "release.yaml")
    assert made.read_bytes() == draft
    assert int8.read_bytes() == quantised


def test_a_key_that_is_there_is_not_overwritten_and_may_be_used(built: Site) -> None:
    with pytest.raises(ConfigError, match="is there already") as refusal:
        built.build("third", "--key-out", built.folder / "out.key")
    assert "--key" in refusal.value.hint
    assert not (built.folder / "third").exists()


def test_golden_pictures_that_were_cut_off_are_completed_as_they_would_have_been(
    tmp_path: Path,
) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    golden_pictures(paths, CLIP)
    whole = [path.read_bytes() for path in paths]
    assert len(set(whole)) == 3
    for path in paths[1:]:
        path.unlink()
    golden_pictures(paths, CLIP)
    assert [path.read_bytes() for path in paths] == whole


def test_only_what_changed_is_made_again(built: Site, tmp_path: Path) -> None:
    shutil.copytree(built.folder, tmp_path / "copy")
    site = Site(tmp_path / "copy")
    site.write(version="1.1", drift={"sources": ["pictures"], "night_below": 40.0})
    before = set((site.folder / ".vigil-build").iterdir())
    make_draft(site.folder / "release.yaml")
    made = set((site.folder / ".vigil-build").iterdir()) - before
    assert [path.name.partition("-")[0] for path in made] == ["baseline"]


def test_a_float_litert_file_is_released_as_int8(site: Site) -> None:
    write_float_litert(site.folder / "parts.tflite")
    dynamic = LITERT | {"id": "litert-dynamic-320", "quantise": {"ranges": "dynamic"}}
    site.write(variants=[LITERT, dynamic], drift=None)
    make_draft(site.folder / "release.yaml")
    draft = yaml.safe_load((site.folder / ".vigil-build/draft.yaml").read_text())
    shown = json.loads((site.folder / ".vigil-build/variants.json").read_bytes())["variants"]
    told = [step for one in shown for step in one["steps"]]
    assert [one["precision"] for one in draft["variants"]] == ["int8", "dynamic-int8"]
    assert [one["step"] for one in told] == ["source", "int8", "source", "int8"]
    assert len({one["macs"] for one in told}) == 1
    for source, int8 in (told[:2], told[2:]):
        assert int8["size_bytes"] < 0.45 * source["size_bytes"]


def test_a_variant_over_its_budget_makes_no_release(site: Site) -> None:
    shutil.copy(BUNDLED / "parts-1.onnx", site.folder)
    weaker = FP32 | {"id": "older", "source": "parts-1.onnx", "reference": MODEL}
    site.write(variants=[FP32, weaker], drift=None)
    with pytest.raises(PackageError) as refusal:
        site.build("out", "--key-out", site.folder / "out.key")
    assert refusal.value.code == "package.gate"
    assert "older: loses" in refusal.value.message
    told = json.loads((site.folder / ".vigil-build/variants.json").read_bytes())["variants"]
    assert [(one["variant"], one["passed"]) for one in told] == [
        ("onnx-fp32-320", True),
        ("older", False),
    ]
    assert not (site.folder / "out.key").exists()
    assert not (site.folder / "out").exists()


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
    assert [known for _, known in told] == [False, False, False]


def test_a_file_is_told_of_once_however_often_it_is_asked_for(tmp_path: Path) -> None:
    told: list[tuple[str, bool]] = []
    for _ in range(2):
        cache = Cache(tmp_path / "work", lambda step, known: told.append((step, known)))
        for size in (320, 320, 640, 320):
            cache.file("exported", ".onnx", {"size": size}, bytes)
    assert told == [("exported", known) for known in (False, False, True, True)]


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
