"""`vigil release golden` with the bundled model and clip, and what `vigil release build` makes of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from agent.demo.scene import CLASSES
from agent.errors import CameraError, ConfigError, ModelError, PackageError
from agent.release.draft_file import load_draft
from agent.release.policy_file import load_policy
from agent.schema.document import parse_json
from agent.schema.manifest import Manifest
from agent.schema.messages import Role
from agent.schema.values import TaskName
from tests.release.drafts import CLIP, IMAGES, Alter, answer, vigil
from tests.vision.task_models import task_model


def test_every_variant_writes_what_it_finds_in_every_picture(draft: Alter, tmp_path: Path) -> None:
    output = vigil("release", "golden", draft(), "--clip", CLIP)
    assert "boxes.json: written" in output
    expected = json.loads((tmp_path / "boxes.json").read_text())
    assert set(expected) == {"onnx", "litert"}
    assert [len(images) for images in expected.values()] == [3, 3]
    labels = {box[0] for images in expected.values() for boxes in images for box in boxes}
    assert labels <= set(range(len(CLASSES)))
    assert len(labels) > 1


def test_a_program_can_read_how_much_every_variant_found(draft: Alter, tmp_path: Path) -> None:
    told = answer("release", "golden", draft(), "--clip", CLIP)
    expected = json.loads((tmp_path / "boxes.json").read_text())
    assert told == {
        "files": [str(tmp_path / "boxes.json")],
        "pictures": IMAGES,
        "objects": {name: [len(boxes) for boxes in seen] for name, seen in expected.items()},
    }


def test_a_release_is_built_from_what_was_found(draft: Alter, tmp_path: Path) -> None:
    path = draft()
    vigil("release", "golden", path, "--clip", CLIP)
    vigil("release", "build", path, "--out", tmp_path / "out", "--key-out", tmp_path / "out.key")
    assert (tmp_path / "out/golden.sealed").exists()


def test_what_led_to_the_boxes_travels_with_them(draft: Alter, tmp_path: Path) -> None:
    golden = {"images": IMAGES, "expected": "boxes.json", "confidence": 0.25, "iou": 0.6}
    path = draft(golden=golden | {"stages": "stages.json"})
    vigil("release", "golden", path, "--clip", CLIP)
    frames = load_draft(path).golden.frames
    assert [set(frame.stages) for frame in frames] == [{"onnx", "litert"}] * 3
    assert frames[0].stages["onnx"] != frames[1].stages["onnx"]
    (tmp_path / "stages.json").write_text("{}]")
    with pytest.raises(ConfigError, match=r"stages\.json"):
        load_draft(path)


def test_a_tensorrt_variant_is_looked_at_through_its_onnx_file(
    draft: Alter, tmp_path: Path
) -> None:
    path = draft()
    tree = yaml.safe_load(path.read_text())
    engine = tree["variants"][0] | {"id": "engine", "backend": "tensorrt"}
    vigil("release", "golden", draft(variants=[tree["variants"][0], engine]), "--clip", CLIP)
    expected = json.loads((tmp_path / "boxes.json").read_text())
    assert expected["engine"] == expected["onnx"]


def test_a_variants_task_reaches_the_manifest(draft: Alter, tmp_path: Path) -> None:
    path = draft()
    vigil("release", "golden", path, "--clip", CLIP)
    pose = {"task": "pose", "keypoints": [17, 3]}
    tree = yaml.safe_load(path.read_text())
    draft(variants=[one | pose for one in tree["variants"]])
    vigil("release", "build", path, "--out", tmp_path / "out", "--key-out", tmp_path / "out.key")
    manifest = parse_json((tmp_path / "out/manifest.json").read_bytes(), Manifest)
    assert {(one.task, one.keypoints) for one in manifest.variants} == {(TaskName.POSE, (17, 3))}


def test_build_says_what_to_run_when_nothing_was_found_yet(draft: Alter, tmp_path: Path) -> None:
    path = draft()
    with pytest.raises(ConfigError) as refusal:
        vigil("release", "build", path, "--out", tmp_path / "out", "--key-out", tmp_path / "k")
    assert f"vigil release golden {path}" in refusal.value.diagnostics()
    assert not (tmp_path / "k").exists()


def test_pictures_that_are_there_are_kept(draft: Alter, tmp_path: Path) -> None:
    path = draft()
    vigil("release", "golden", path, "--clip", CLIP)
    kept = (tmp_path / IMAGES[0]).read_bytes()
    (tmp_path / IMAGES[1]).unlink()
    vigil("release", "golden", path, "--clip", CLIP)
    assert (tmp_path / IMAGES[0]).read_bytes() == kept
    assert (tmp_path / IMAGES[1]).exists()


def test_missing_pictures_are_named(draft: Alter) -> None:
    with pytest.raises(PackageError, match=r"1\.png") as refusal:
        vigil("release", "golden", draft())
    assert "--clip" in refusal.value.diagnostics()


def test_a_clip_that_is_too_short_writes_no_expectations(draft: Alter, tmp_path: Path) -> None:
    images = [f"{number}.jpg" for number in range(400)]
    golden = {"images": images, "expected": "boxes.json", "confidence": 0.25, "iou": 0.6}
    with pytest.raises(CameraError, match="expected 400"):
        vigil("release", "golden", draft(golden=golden), "--clip", CLIP)
    assert not (tmp_path / "boxes.json").exists()
    assert not list(tmp_path.glob("*.jpg"))


def test_a_draft_without_pictures_is_refused(draft: Alter) -> None:
    golden = {"images": [], "expected": "boxes.json", "confidence": 0.25, "iou": 0.6}
    with pytest.raises(PackageError, match="at least one image"):
        vigil("release", "golden", draft(golden=golden))


def test_a_variant_that_finds_nothing_is_refused(draft: Alter, tmp_path: Path) -> None:
    golden = {"images": IMAGES, "expected": "boxes.json", "confidence": 1.0, "iou": 0.6}
    with pytest.raises(PackageError, match="variant onnx finds nothing"):
        vigil("release", "golden", draft(golden=golden), "--clip", CLIP)
    assert not (tmp_path / "boxes.json").exists()


def test_a_draft_whose_labels_do_not_fit_its_model_is_refused(draft: Alter) -> None:
    with pytest.raises(ModelError):
        vigil("release", "golden", draft(labels=["bolt"]), "--clip", CLIP)


def test_a_policy_may_name_key_files(tmp_path: Path) -> None:
    vigil("release", "keygen", "people", "ada", "--keys", tmp_path / "keys")
    user = {"name": "ada", "role": "deployer", "keys": ["keys/people/ada.pub"]}
    path = tmp_path / "policy.yaml"
    path.write_text(
        yaml.safe_dump({"schema": 1, "version": 1, "users": [user], "commands": {}}),
    )
    policy = load_policy(path)
    assert policy.users[0].role is Role.DEPLOYER
    assert policy.users[0].keys == [(tmp_path / "keys/people/ada.pub").read_text()]


def test_a_pose_model_is_released_as_one(draft: Alter, tmp_path: Path) -> None:
    (tmp_path / "pose.onnx").write_bytes(task_model("pose", {}))
    pose = {
        "id": "onnx",
        "model": "pose.onnx",
        "backend": "onnxruntime",
        "precision": "fp32",
        "family": "ultralytics",
        "task": "pose",
        "keypoints": [2, 3],
        "input": {"width": 64, "height": 64},
        "accuracy": 0.6,
        "memory_mb": 256,
    }
    path = draft(variants=[pose], labels=["red", "green", "blue"])
    vigil("release", "golden", path, "--clip", CLIP)
    vigil("release", "build", path, "--out", tmp_path / "out", "--key-out", tmp_path / "out.key")
    (variant,) = json.loads((tmp_path / "out/manifest.json").read_text())["variants"]
    assert (variant["task"], variant["keypoints"]) == ("pose", [2, 3])
