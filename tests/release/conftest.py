from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from securesystemslib.signer import CryptoSigner

from agent.demo.scene import CLASSES
from agent.release.build import ReleaseDraft, VariantDraft, build_release
from agent.release.charter import Charter, RoleKeys
from agent.release.golden import golden_set
from agent.release.repository import Repository
from agent.release.signers import load_signer
from agent.schema.manifest import InputSpec
from agent.schema.values import BackendName, FamilyName, Precision
from tests.release.drafts import BUNDLED, CLIP, IMAGES, Alter, vigil
from tests.release.networks import ARCHITECTURE
from tests.release.signing import RELEASE, Site

DEK = bytes(range(32))
FRAMES = range(0, 300, 15)
OFFLINE = ("root", "targets", "release", "policy")


@dataclass(frozen=True)
class People:
    """Three signers per offline role and one per online role."""

    signers: dict[str, list[CryptoSigner]]

    @property
    def online(self) -> tuple[list[CryptoSigner], list[CryptoSigner]]:
        return self.signers["snapshot"], self.signers["timestamp"]

    def charter(self, *classes: str) -> Charter:
        roles = {
            name: RoleKeys(tuple(s.public_key for s in signers), 2 if name in OFFLINE else 1)
            for name, signers in self.signers.items()
        }
        return Charter(classes=classes, **roles)

    def sign_all(self, repository: Repository) -> None:
        for standing in repository.standings():
            role = standing.role if standing.role in self.signers else "release"
            repository.approve(standing.role, self.signers[role][:2])


@pytest.fixture
def people() -> People:
    counts = dict.fromkeys(OFFLINE, 3) | {"snapshot": 1, "timestamp": 1}
    return People(
        {role: [CryptoSigner.generate_ed25519() for _ in range(n)] for role, n in counts.items()}
    )


@dataclass(frozen=True)
class Workshop:
    """Makes release folders with two small stand-in models."""

    folder: Path

    def draft(
        self, version: str = "1.0", counter: int = 1, device_class: str = "gate"
    ) -> ReleaseDraft:
        variants = []
        for size in (320, 640):
            model = self.folder / f"model-{size}.onnx"
            model.write_bytes(bytes(range(256)) * size * 2)
            variants.append(
                VariantDraft(
                    id=f"onnx-fp32-{size}",
                    model=model,
                    backend=BackendName.ONNXRUNTIME,
                    precision=Precision.FP32,
                    family=FamilyName.ULTRALYTICS,
                    input=InputSpec(width=size, height=size),
                    accuracy=0.4,
                    memory_mb=120,
                )
            )
        boxes = [[(0, 0.9, 1.0, 2.0, 30.0, 40.0)]]
        return ReleaseDraft(
            name="people",
            version=version,
            device_class=device_class,
            counter=counter,
            labels=["person"],
            variants=variants,
            golden=golden_set(
                [b"image"], {v.id: boxes for v in variants}, confidence=0.25, iou=0.6
            ),
        )

    def release(self, version: str = "1.0", counter: int = 1, device_class: str = "gate") -> Path:
        folder = self.folder / f"release-{device_class}-{version}"
        return build_release(folder, self.draft(version, counter, device_class), DEK).parent


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


@pytest.fixture
def repository(tmp_path: Path, people: People) -> Repository:
    """A published repository with the classes gate and yard and no releases."""
    repository = Repository.create(tmp_path / "repository", people.charter("gate", "yard"))
    people.sign_all(repository)
    repository.publish(*people.online)
    return repository


@pytest.fixture
def published(repository: Repository, people: Any, workshop: Any) -> Repository:
    """A repository with one release of gate."""
    repository.add_release(workshop.release())
    people.sign_all(repository)
    repository.publish(*people.online)
    return repository


@pytest.fixture
def site(people: Any, workshop: Any, tmp_path: Path) -> Site:
    folder = tmp_path / "keys"
    signers = people.signers["release"]
    for number in range(2):
        vigil("release", "keygen", "release", number, "--keys", folder, "--p256")
        signer = load_signer(folder / f"release/{number}.key")
        assert isinstance(signer, CryptoSigner)
        signers[number] = signer
    repository = Repository.create(tmp_path / "repository", people.charter("gate", "yard"))
    people.sign_all(repository)
    repository.publish(*people.online)
    built = workshop.release()
    repository.add_release(built)
    copies = [tmp_path / f"copy-{number}" for number in range(2)]
    for number, copy in enumerate(copies):
        shutil.copytree(tmp_path / "repository", copy)
        key = folder / f"release/{number}.key"
        told = vigil("release", "approve", copy, "gate", "--key", key)
        assert f"{RELEASE}: signed for OpenSSF's model-signing" in told
    return Site(repository, built, copies, signers, people)


@pytest.fixture
def draft(tmp_path: Path) -> Alter:
    """Write a draft of both bundled forms of a model; keyword arguments replace its fields."""

    def write(**changes: Any) -> Path:
        onnx = {
            "id": "onnx",
            "model": str(BUNDLED / "parts-1.onnx"),
            "backend": "onnxruntime",
            "precision": "fp32",
            "family": "ultralytics",
            "input": {"width": 320, "height": 320},
            "accuracy": 0.6,
            "memory_mb": 256,
        }
        litert = onnx | {
            "id": "litert",
            "model": str(BUNDLED / "parts-1.tflite"),
            "backend": "litert",
            "precision": "dynamic-int8",
            "box_units": "normalised",
        }
        tree = {
            "schema": 1,
            "name": "parts",
            "version": "1.0",
            "class": "gate",
            "counter": 1,
            "labels": list(CLASSES),
            "variants": [onnx, litert],
            "golden": {"images": IMAGES, "expected": "boxes.json", "confidence": 0.25, "iou": 0.6},
        }
        path = tmp_path / "draft.yaml"
        path.write_text(yaml.safe_dump(tree | changes))
        return path

    return write


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty labelled pictures of the bundled scene, two of them in the glare: `truth.json` and `pictures/`."""
    folder = tmp_path_factory.mktemp("scene")
    truth = json.loads((BUNDLED / "conveyor.json").read_text())
    images = [
        {**entry, "file_name": f"{entry['id']:03d}.png"}
        for entry in truth["images"]
        if entry["id"] in FRAMES
    ]
    kept = [entry for entry in truth["annotations"] if entry["image_id"] in FRAMES]
    truth |= {"images": images, "annotations": kept}
    (folder / "truth.json").write_text(json.dumps(truth))
    (folder / "pictures").mkdir()
    clip = cv2.VideoCapture(str(CLIP))
    for number in range(FRAMES[-1] + 1):
        picture = clip.read()[1]
        if number in FRAMES:
            cv2.imwrite(str(folder / f"pictures/{number:03d}.png"), picture)
    return folder


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A YOLO11 with attention and random weights."""
    from ultralytics import YOLO

    path = tmp_path_factory.mktemp("network") / "parts.pt"
    yolo = YOLO(str(ARCHITECTURE), task="detect")
    yolo.model.names = dict(enumerate(("bolt", "nut", "washer", "gear", "bracket")))
    yolo.save(str(path))
    return path


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight labelled pictures of 96 x 96."""
    folder = tmp_path_factory.mktemp("data")
    for name in ("images", "labels"):
        (folder / name).mkdir()
    noise = np.random.default_rng(0)
    for number in range(8):
        picture = noise.integers(0, 255, (96, 96, 3), np.uint8)
        cv2.imwrite(str(folder / f"images/{number}.png"), picture)
        (folder / f"labels/{number}.txt").write_text(f"{number % 5} 0.5 0.5 0.4 0.4\n")
    names = "[bolt, nut, washer, gear, bracket]"
    text = f"path: {folder}\ntrain: images\nval: images\nnames: {names}\n"
    (folder / "data.yaml").write_text(text)
    return folder / "data.yaml"
