"""Whether this device may and can run a signed version of the agent: pure, checks in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.errors import PackageError, TrustError
from agent.schema.agent_release import AGENT_SCHEMA, AgentBundle, AgentManifest, manifest_path
from agent.update.admission import version_numbers


@dataclass(frozen=True)
class AgentFacts:
    """What runs here: version, `3.11`, `aarch64`, and the versions that were rolled back, with the reason."""

    version: str
    python: str
    machine: str
    bad: Mapping[str, str] = field(default_factory=dict)


def admit_agent(
    manifest: AgentManifest, path: str, facts: AgentFacts, *, force: bool
) -> AgentBundle:
    """Return the bundle to install.

    Raises:
        TrustError: Another version than its path says (`trust.wrong_release`), or not newer than what runs
            (`trust.rollback`).
        PackageError: `package.schema`, `package.min_agent`, `package.bad_before` or `package.no_bundle`.
    """
    version = manifest.version
    # (1) the version that its path names
    if path != manifest_path(version):
        message = f"{path}: its manifest calls itself {version}"
        raise TrustError(message, code="trust.wrong_release")
    # (2) understood by this agent, and within one step
    if manifest.schema != AGENT_SCHEMA:
        message = f"{path}: schema {manifest.schema}, this agent reads {AGENT_SCHEMA}"
        raise PackageError(message, code="package.schema", hint="update to a version between first")
    if version_numbers(manifest.min_agent) > version_numbers(facts.version):
        message = f"{path}: needs agent {manifest.min_agent}, this is {facts.version}"
        hint = f"update to {manifest.min_agent} first"
        raise PackageError(message, code="package.min_agent", hint=hint)
    # (3) not back, unless somebody with the right to do so insists
    if not force and version_numbers(version) <= version_numbers(facts.version):
        message = f"{path}: {version} is not newer than {facts.version}"
        raise TrustError(message, code="trust.rollback", hint="`force: true` goes back on purpose")
    if not force and version in facts.bad:
        message = f"{path}: was rolled back here before: {facts.bad[version]}"
        raise PackageError(message, code="package.bad_before", hint="`force: true` tries it again")
    # (4) made for this machine
    for bundle in manifest.bundles:
        if (bundle.python, bundle.machine) == (facts.python, facts.machine):
            return bundle
    there = ", ".join(f"{bundle.python} {bundle.machine}" for bundle in manifest.bundles)
    message = f"{path}: has wheels for {there}, this is {facts.python} {facts.machine}"
    raise PackageError(message, code="package.no_bundle")
