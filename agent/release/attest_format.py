"""What a release says of its own making: CycloneDX 1.6 (SBOM) and an in-toto Statement v1 with SLSA provenance v1.

Only the parts of these formats that a release fills. Sources: CycloneDX specification 1.6 (ECMA-424), JSON; in-toto attestation framework,
Statement v1; SLSA 1.0, "Provenance". The names of the fields are theirs.
"""

from __future__ import annotations

import msgspec

from agent.schema.values import Sha256, Struct

SBOM_FILE, PROVENANCE_FILE = "sbom.cdx.json", "provenance.intoto.json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:vigil:release-build:1"
BUILDER = "urn:vigil:release-build"


class _Wire(Struct, rename="camel", omit_defaults=True):
    """Fields as the formats spell them; empty ones are left out."""


class Hash(_Wire):
    """SHA-256 as CycloneDX writes it."""

    alg: str
    content: Sha256


class Property(_Wire):
    """A name of Vigil's own and its value."""

    name: str
    value: str


class Metric(_Wire):
    """A measured figure."""

    type: str
    value: str


class Reference(_Wire):
    """Another component, by its `bom-ref`."""

    ref: str


class ModelParameters(_Wire):
    """What a model does and what it was judged on."""

    task: str
    datasets: list[Reference] = msgspec.field(default_factory=list)


class QuantitativeAnalysis(_Wire, rename="camel"):
    """Its figures."""

    performance_metrics: list[Metric]


class ModelCard(_Wire):
    """CycloneDX's model card."""

    model_parameters: ModelParameters
    quantitative_analysis: QuantitativeAnalysis


class DataContent(_Wire):
    """What a component of data is."""

    type: str


class Component(_Wire, rename={"bom_ref": "bom-ref", "model_card": "modelCard"}):
    """A model, a data set, a file or a program."""

    type: str
    name: str
    bom_ref: str = ""
    version: str = ""
    hashes: list[Hash] = msgspec.field(default_factory=list)
    components: list[Component] = msgspec.field(default_factory=list)
    model_card: ModelCard | None = None
    data: list[DataContent] = msgspec.field(default_factory=list)
    properties: list[Property] = msgspec.field(default_factory=list)


class Tools(_Wire):
    """Programs that made a release."""

    components: list[Component]


class BomMetadata(_Wire):
    """What the whole is, and what made it."""

    tools: Tools
    component: Component


class Bom(Struct, rename="camel"):
    """CycloneDX 1.6 in JSON: each variant's model with the digest of its plaintext and of its sealed file."""

    bom_format: str
    spec_version: str
    serial_number: str
    version: int
    metadata: BomMetadata
    components: list[Component]


class ResourceDescriptor(_Wire):
    """A file, by its digest."""

    name: str
    digest: dict[str, Sha256] = msgspec.field(default_factory=dict)
    annotations: dict[str, str] = msgspec.field(default_factory=dict)


class BuildDefinition(_Wire):
    """What was built, and from what."""

    build_type: str
    external_parameters: dict[str, str | int]
    resolved_dependencies: list[ResourceDescriptor] = msgspec.field(default_factory=list)


class Builder(_Wire):
    """Who built it, with the versions of its parts."""

    id: str
    version: dict[str, str] = msgspec.field(default_factory=dict)


class RunDetails(_Wire):
    """How it was built; nothing that differs from run to run, so that the same release can be made again."""

    builder: Builder


class Provenance(_Wire):
    """SLSA provenance v1."""

    build_definition: BuildDefinition
    run_details: RunDetails


class Statement(Struct, rename={"type_": "_type", "predicate_type": "predicateType"}):
    """in-toto Statement v1; TUF's signatures of the manifest that names this file are its signatures."""

    type_: str
    subject: list[ResourceDescriptor]
    predicate_type: str
    predicate: Provenance
