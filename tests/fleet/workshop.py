"""A folder with keys and a published repository with one release and a policy, made by commands alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from agent.cli import app

Vigil = Callable[[str], str]
OFFLINE = ("root", "targets", "release", "policy")


def run(line: str) -> str:
    """Run `vigil …` and return what it prints; faults fly."""
    result = CliRunner().invoke(app, line.split())
    if result.exception is not None:
        raise result.exception
    return result.output


def make_workshop(folder: Path) -> None:
    """Make all of it in `folder`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for role in (*OFFLINE, "people"):
            for name in ("ada", "grace", "linus"):
                run(f"release keygen {role} {name}")
        for role in ("snapshot", "timestamp"):
            run(f"release keygen {role} online")
        run("release init repo --class gate")
        write_draft(Path("draft"))
        run("release build draft/release.yaml --out release --key-out release.key")
        run("release stage repo --release release --policy draft/policy.yaml")
        approve_all()
        run("release publish repo")


def approve_all() -> None:
    for path in sorted(Path("repo/staged").glob("*.json")):
        role = path.stem if path.stem in OFFLINE else "release"
        keys = " ".join(f"--key keys/{role}/{name}.key" for name in ("ada", "grace"))
        run(f"release approve repo {path.stem} {keys}")


def write_draft(folder: Path) -> None:
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"weights" * 1000)
    (folder / "a.jpg").write_bytes(b"image")
    (folder / "boxes.json").write_text(json.dumps({"onnx-fp32-320": [[[0, 0.9, 1, 2, 3, 4]]]}))
    variant = {
        "id": "onnx-fp32-320",
        "model": "model.onnx",
        "backend": "onnxruntime",
        "precision": "fp32",
        "family": "ultralytics",
        "input": {"width": 320, "height": 320},
        "accuracy": 0.4,
        "memory_mb": 120,
    }
    draft = {
        "schema": 1,
        "name": "people",
        "version": "1.0",
        "class": "gate",
        "counter": 1,
        "labels": ["person"],
        "variants": [variant],
        "golden": {"images": ["a.jpg"], "expected": "boxes.json", "confidence": 0.25, "iou": 0.6},
        "limits": {"max_latency_ms": 200.0},
    }
    (folder / "release.yaml").write_text(yaml.safe_dump(draft))
    policy: dict[str, Any] = {"schema": 1, "version": 1, "users": [], "commands": {}}
    for name in ("ada", "grace"):
        keys = [Path(f"keys/people/{name}.pub").read_text()]
        policy["users"].append({"name": name, "role": "admin", "keys": keys})
    policy["commands"]["deploy"] = {"role": "deployer", "approvals": 1}
    (folder / "policy.yaml").write_text(yaml.safe_dump(policy))
