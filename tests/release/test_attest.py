"""SBOM and provenance beside a release: what they say, in whose format, and that nobody changes them unseen."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from agent.errors import PackageError
from agent.release.build import build_release
from agent.release.repository import Repository
from tests.release.drafts import vigil

KEY = bytes(range(32))
RECIPE, TRUTH = "a" * 64, "b" * 64
# CycloneDX 1.6's rules for the parts that a release fills, after bom-1.6.schema.json; SLSA's after its specification.
HASHES = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["alg", "content"],
        "properties": {"alg": {"enum": ["SHA-256"]}, "content": {"pattern": "^[a-f0-9]{64}$"}},
        "additionalProperties": False,
    },
}
COMPONENT: dict[str, Any] = {
    "type": "object",
    "required": ["type", "name"],
    "properties": {
        "type": {"enum": ["machine-learning-model", "data", "file", "application"]},
        "bom-ref": {"type": "string", "minLength": 1},
        "name": {"type": "string"},
        "version": {"type": "string", "maxLength": 1024},
        "hashes": HASHES,
        "components": {"type": "array", "items": {"$ref": "#/$defs/component"}},
        "modelCard": {"type": "object"},
        "data": {
            "items": {"required": ["type"], "properties": {"type": {"enum": ["dataset", "other"]}}}
        },
        "properties": {"items": {"required": ["name"], "additionalProperties": {"type": "string"}}},
    },
    "additionalProperties": False,
}
BOM = {
    "$defs": {"component": COMPONENT},
    "type": "object",
    "required": ["bomFormat", "specVersion"],
    "properties": {
        "bomFormat": {"const": "CycloneDX"},
        "specVersion": {"const": "1.6"},
        "serialNumber": {"pattern": "^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"},
        "version": {"type": "integer", "minimum": 1},
        "metadata": {
            "properties": {
                "tools": {"properties": {"components": {"items": {"$ref": "#/$defs/component"}}}},
                "component": {"$ref": "#/$defs/component"},
            },
            "additionalProperties": False,
        },
        "components": {"type": "array", "uniqueItems": True, "items": {"$ref": "#/$defs/component"}},
    },
    "additionalProperties": False,
}  # fmt: skip
DESCRIPTORS = {
    "type": "array",
    "items": {"required": ["name", "digest"], "properties": {"digest": {"required": ["sha256"]}}},
}
STATEMENT = {
    "required": ["_type", "subject", "predicateType", "predicate"],
    "properties": {
        "_type": {"const": "https://in-toto.io/Statement/v1"},
        "subject": DESCRIPTORS | {"minItems": 1},
        "predicateType": {"const": "https://slsa.dev/provenance/v1"},
        "predicate": {
            "required": ["buildDefinition", "runDetails"],
            "properties": {
                "buildDefinition": {
                    "required": ["buildType", "externalParameters"],
                    "properties": {"resolvedDependencies": DESCRIPTORS},
                },
                "runDetails": {"required": ["builder"]},
            },
        },
    },
    "additionalProperties": False,
}


@pytest.fixture
def release(workshop: Any, tmp_path: Path) -> Path:
    draft = workshop.draft()
    draft.materials.update(recipe=RECIPE, validation=TRUTH)
    return build_release(tmp_path / "release", draft, KEY).parent


def read(path: Path) -> Any:
    return json.loads(path.read_bytes())


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_sbom_has_plain_and_sealed_digests_and_the_data_it_was_judged_on(release: Path) -> None:
    bom = read(release / "sbom.cdx.json")
    jsonschema.validate(bom, BOM)
    by_name = {one["name"]: one for one in bom["components"]}
    model = by_name["onnx-fp32-320"]
    assert model["type"] == "machine-learning-model"
    assert model["hashes"][0]["content"] == digest(release.parent / "model-320.onnx")
    (sealed,) = model["components"]
    assert sealed["hashes"][0]["content"] == digest(release / "onnx-fp32-320.sealed")
    assert model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"] == [
        {"type": "mAP50-95", "value": "0.4000"}
    ]
    assert model["modelCard"]["modelParameters"]["datasets"] == [{"ref": "material:validation"}]
    assert by_name["validation"]["bom-ref"] == "material:validation"
    assert by_name["validation"]["hashes"][0]["content"] == TRUTH
    tools = {one["name"]: one["version"] for one in bom["metadata"]["tools"]["components"]}
    assert {"vigil-agent", "onnxruntime"} <= tools.keys()
    references = [one["bom-ref"] for one in bom["components"]]
    assert len(references) == len(set(references))


def test_the_provenance_is_about_every_sealed_file_and_says_what_it_came_from(
    release: Path,
) -> None:
    statement = read(release / "provenance.intoto.json")
    jsonschema.validate(statement, STATEMENT)
    subjects = {one["name"]: one["digest"]["sha256"] for one in statement["subject"]}
    assert subjects == {path.name: digest(path) for path in release.glob("*.sealed")}
    definition = statement["predicate"]["buildDefinition"]
    made_from = {one["name"]: one["digest"]["sha256"] for one in definition["resolvedDependencies"]}
    assert made_from["recipe"] == RECIPE
    assert made_from["plaintext of onnx-fp32-320"] == digest(release.parent / "model-320.onnx")
    assert definition["externalParameters"] == {"release": "gate/people/1.0", "counter": 1}


def test_the_approvers_see_them_and_they_are_published(
    release: Path, repository: Repository, people: Any
) -> None:
    repository.add_release(release)
    changes = repository.review("gate").changes
    assert f"  from recipe: sha256 {RECIPE}" in changes
    assert any(one.startswith("models/gate/people/1.0/sbom.cdx.json: ") for one in changes)
    people.sign_all(repository)
    repository.publish(*people.online)
    assert len(list(repository.public.rglob("*.sbom.cdx.json"))) == 1
    assert len(list(repository.public.rglob("*.provenance.intoto.json"))) == 1


@pytest.mark.parametrize("file", ["sbom.cdx.json", "provenance.intoto.json"])
def test_a_changed_document_is_refused(release: Path, repository: Repository, file: str) -> None:
    path = release / file
    path.write_bytes(path.read_bytes().replace(RECIPE.encode(), TRUTH.encode()))
    with pytest.raises(PackageError) as refusal:
        repository.add_release(release)
    assert refusal.value.code == "package.damaged"
    with pytest.raises(PackageError, match=file):
        vigil("release", "verify", release)


@pytest.mark.parametrize("file", ["sbom.cdx.json", "provenance.intoto.json"])
def test_a_document_about_other_files_is_refused(
    release: Path, repository: Repository, file: str
) -> None:
    path, manifest = release / file, read(release / "manifest.json")
    sealed = digest(release / "onnx-fp32-320.sealed")
    path.write_bytes(path.read_bytes().replace(sealed.encode(), RECIPE.encode()))
    (entry,) = [one for one in manifest["documents"] if one["file"] == file]
    entry |= {"size": path.stat().st_size, "sha256": digest(path)}
    (release / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(PackageError, match=r"onnx-fp32-320\.sealed") as refusal:
        repository.add_release(release)
    assert refusal.value.code == "package.documents"
    with pytest.raises(PackageError, match="about other files"):
        vigil("release", "verify", release)
