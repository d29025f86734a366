"""`vigil release baseline` with the bundled model and clip, and how its figures reach the manifest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent.errors import ConfigError, PackageError
from agent.schema.document import parse_json
from agent.schema.drift import BASELINE_VERSION, QUANTILES, DriftBaseline
from agent.schema.manifest import Manifest
from tests.release.drafts import CLIP, Alter, answer, vigil


def test_what_a_release_was_made_for_reaches_its_manifest(draft: Alter, tmp_path: Path) -> None:
    path = draft(drift_baseline="baseline.json")
    vigil("release", "golden", path, "--clip", CLIP)
    output = vigil("release", "baseline", path, "--source", CLIP, "--frames", 30)
    assert "baseline.json: written" in output
    vigil("release", "build", path, "--out", tmp_path / "out", "--key-out", tmp_path / "out.key")
    manifest = parse_json((tmp_path / "out/manifest.json").read_bytes(), Manifest)
    found = manifest.drift_baseline
    assert (found.v, found.confidence) == (BASELINE_VERSION, 0.25)
    assert set(found.variants) == {"onnx", "litert"}
    day = found.variants["onnx"]["day"]
    assert day.frames == 30
    assert all(len(spread) == QUANTILES for spread in day.figures.values())
    assert day.classes


def test_a_program_can_read_the_medians_of_a_baseline(draft: Alter, tmp_path: Path) -> None:
    path = draft(drift_baseline="baseline.json")
    vigil("release", "golden", path, "--clip", CLIP)
    told = answer("release", "baseline", path, "--source", CLIP, "--frames", 30)
    assert told["file"] == str(tmp_path / "baseline.json")
    written = parse_json((tmp_path / "baseline.json").read_bytes(), DriftBaseline)
    for variant, periods in written.variants.items():
        day, medians = periods["day"], told["medians"][variant]["day"]
        assert medians.pop("pictures") == day.frames
        assert medians == {name: day.figures[name][QUANTILES // 2] for name in medians}
        assert set(medians) == {"brightness", "sharpness", "objects"}


def test_a_manifest_of_an_older_release_has_no_baseline(draft: Alter, tmp_path: Path) -> None:
    path = draft()
    vigil("release", "golden", path, "--clip", CLIP)
    vigil("release", "build", path, "--out", tmp_path / "out", "--key-out", tmp_path / "out.key")
    tree = json.loads((tmp_path / "out/manifest.json").read_text())
    del tree["drift_baseline"]
    assert parse_json(json.dumps(tree).encode(), Manifest).drift_baseline == DriftBaseline()
    # What was written before baselines had a form.
    tree["drift_baseline"] = {}
    assert parse_json(json.dumps(tree).encode(), Manifest).drift_baseline == DriftBaseline()


def test_a_draft_that_names_no_file_is_refused(draft: Alter) -> None:
    with pytest.raises(ConfigError, match="names no file") as refusal:
        vigil("release", "baseline", draft(), "--source", CLIP)
    assert "drift_baseline:" in refusal.value.diagnostics()


def test_too_few_pictures_make_no_baseline(draft: Alter, tmp_path: Path) -> None:
    path = draft(drift_baseline="baseline.json")
    vigil("release", "golden", path, "--clip", CLIP)
    with pytest.raises(PackageError, match="expected 20 pictures"):
        vigil("release", "baseline", path, "--source", tmp_path / "golden")
    assert not (tmp_path / "baseline.json").exists()


def test_a_bad_baseline_makes_no_release(draft: Alter, tmp_path: Path) -> None:
    path = draft(drift_baseline="baseline.json")
    vigil("release", "golden", path, "--clip", CLIP)
    build = ("release", "build", path, "--out", tmp_path / "out", "--key-out", tmp_path / "k")
    with pytest.raises(ConfigError, match="not there"):
        vigil(*build)
    one = '{"v": 1, "variants": {"onnx": {}}}'
    for content, complaint in (("{", "baseline.json"), (one, "expected variant litert")):
        (tmp_path / "baseline.json").write_text(content)
        with pytest.raises(ConfigError, match=complaint):
            vigil(*build)
    assert not (tmp_path / "k").exists()
