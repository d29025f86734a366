"""SBOM and provenance of a release, from its draft and its sealed files: no clock, no chance, so the same inputs give the same bytes.

Neither file is signed by itself. The manifest names both by digest, and the release's approvers sign the manifest as a TUF target: who has
checked that, with any TUF client and `sha256sum`, has checked them.
"""

from __future__ import annotations

import importlib.metadata
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from agent import __version__
from agent.errors import PackageError
from agent.release.attest_format import (
    BUILD_TYPE,
    BUILDER,
    PREDICATE_TYPE,
    PROVENANCE_FILE,
    SBOM_FILE,
    STATEMENT_TYPE,
    Bom,
    BomMetadata,
    BuildDefinition,
    Builder,
    Component,
    DataContent,
    Hash,
    Metric,
    ModelCard,
    ModelParameters,
    Property,
    Provenance,
    QuantitativeAnalysis,
    Reference,
    ResourceDescriptor,
    RunDetails,
    Statement,
    Tools,
)
from agent.schema.document import Malformed, parse_json
from agent.schema.manifest import SealedFile

DATASET = "validation"
# Whose versions decide what an export, a quantised file or a sealed one looks like.
_TOOLS = (
    "ai-edge-litert", "cryptography", "litert-torch", "numpy", "onnx", "onnxruntime", "onnxslim", "opencv-python-headless",
    "torch", "ultralytics",
)  # fmt: skip
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, BUILDER)


@dataclass(frozen=True)
class Part:
    """One sealed file and what is in it.

    Attributes:
        name: Of the variant, or of the golden set.
        plaintext_sha256: Digest of what is sealed.
        task: What a model does; empty for the golden set.
        accuracy: mAP50-95 of a model.
        runs_on: Backend and precision of a model.
    """

    name: str
    plaintext_sha256: str
    sealed: SealedFile
    task: str = ""
    accuracy: float = 0.0
    runs_on: str = ""


@dataclass(frozen=True)
class Making:
    """A release and what it was made from.

    Attributes:
        release_id: `<class>/<name>/<version>`.
        materials: SHA-256 of what it was made from, by name; the data set that it was judged on is named `validation`.
    """

    release_id: str
    counter: int
    parts: Sequence[Part]
    materials: Mapping[str, str]


def tools() -> dict[str, str]:
    """Return the versions of what makes releases, as installed here."""
    found = {"vigil-agent": __version__}
    for name in _TOOLS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def sbom(making: Making) -> bytes:
    """Return the SBOM: CycloneDX 1.6, JSON."""
    _, name, version = making.release_id.split("/", 2)  # the manifest is what refuses a wrong one
    programs = [Component(type="application", name=n, version=v) for n, v in tools().items()]
    components = [_component(part, version, making.materials) for part in making.parts]
    components += [
        Component(
            type="data",
            bom_ref=f"material:{material}",
            name=material,
            hashes=_hashes(digest),
            data=[DataContent(type="dataset" if material == DATASET else "other")],
        )
        for material, digest in making.materials.items()
    ]
    told = msgspec.json.encode(components) + making.release_id.encode()
    bom = Bom(
        bom_format="CycloneDX",
        spec_version="1.6",
        serial_number=f"urn:uuid:{uuid.uuid5(_NAMESPACE, told.hex())}",
        version=1,
        metadata=BomMetadata(
            tools=Tools(components=programs),
            component=Component(
                type="machine-learning-model",
                bom_ref=f"release:{making.release_id}",
                name=name,
                version=version,
            ),
        ),
        components=components,
    )
    return _pretty(bom)


def provenance(making: Making) -> bytes:
    """Return the provenance: an in-toto Statement v1 about every sealed file, predicate SLSA provenance v1."""
    statement = Statement(
        type_=STATEMENT_TYPE,
        subject=[
            ResourceDescriptor(name=part.sealed.file, digest={"sha256": part.sealed.sha256})
            for part in making.parts
        ],
        predicate_type=PREDICATE_TYPE,
        predicate=Provenance(
            build_definition=BuildDefinition(
                build_type=BUILD_TYPE,
                external_parameters={"release": making.release_id, "counter": making.counter},
                resolved_dependencies=[
                    ResourceDescriptor(name=name, digest={"sha256": digest})
                    for name, digest in [
                        *making.materials.items(),
                        *((f"plaintext of {p.name}", p.plaintext_sha256) for p in making.parts),
                    ]
                ],
            ),
            run_details=RunDetails(builder=Builder(id=BUILDER, version=tools())),
        ),
    )
    return _pretty(statement)


def require_agreement(sealed: Mapping[str, str], documents: Mapping[str, bytes]) -> None:
    """Refuse an SBOM or a provenance that is about other files than the manifest.

    Args:
        sealed: SHA-256 of each sealed file by its name, as the manifest has it.
        documents: Content by name of file; others than the two are not looked at.

    Raises:
        PackageError: `package.documents`.
    """
    for file, data in documents.items():
        if file not in _LISTS:
            continue
        kind, listed = _LISTS[file]
        try:
            found = listed(parse_json(data, kind))
        except Malformed as error:
            raise PackageError(f"{file}: {error}", code="package.documents") from error
        if found != sealed:
            names = sorted(name for name, _ in found.items() ^ sealed.items())
            message = f"{file}: is about other files than the manifest: {', '.join(names)}"
            raise PackageError(message, code="package.documents", hint="build the release again")


def _listed_by_bom(bom: Bom) -> dict[str, str]:
    files = [file for part in bom.components for file in part.components]
    return {file.name: file.hashes[0].content for file in files if file.hashes}


def _listed_by_statement(statement: Statement) -> dict[str, str]:
    return {one.name: one.digest.get("sha256", "") for one in statement.subject}


_LISTS: dict[str, tuple[type, Callable[[Any], dict[str, str]]]] = {
    SBOM_FILE: (Bom, _listed_by_bom),
    PROVENANCE_FILE: (Statement, _listed_by_statement),
}


def _component(part: Part, version: str, materials: Mapping[str, str]) -> Component:
    sealed = Component(type="file", name=part.sealed.file, hashes=_hashes(part.sealed.sha256))
    if not part.task:
        return Component(
            type="data",
            bom_ref=f"part:{part.name}",
            name=part.name,
            hashes=_hashes(part.plaintext_sha256),
            components=[sealed],
            data=[DataContent(type="dataset")],
        )
    judged_on = [Reference(ref=f"material:{DATASET}")] if DATASET in materials else []
    return Component(
        type="machine-learning-model",
        bom_ref=f"part:{part.name}",
        name=part.name,
        version=version,
        hashes=_hashes(part.plaintext_sha256),
        components=[sealed],
        model_card=ModelCard(
            model_parameters=ModelParameters(task=part.task, datasets=judged_on),
            quantitative_analysis=QuantitativeAnalysis(
                performance_metrics=[Metric(type="mAP50-95", value=f"{part.accuracy:.4f}")]
            ),
        ),
        properties=[Property(name="vigil:runs-on", value=part.runs_on)],
    )


def _hashes(sha256: str) -> list[Hash]:
    return [Hash(alg="SHA-256", content=sha256)]


def _pretty(document: Bom | Statement) -> bytes:
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"
