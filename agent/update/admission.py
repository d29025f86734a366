"""Whether this device may and can run what a signed manifest describes: pure, checks in order."""

from __future__ import annotations

import re
from dataclasses import dataclass

from agent.errors import PackageError, TrustError
from agent.schema.manifest import MANIFEST_FILE, MANIFEST_SCHEMA, Manifest, ReleaseRef


@dataclass(frozen=True)
class Facts:
    """What of this device the checks compare: its class, the floor's counter, the agent's version."""

    device_class: str
    floor: int
    agent_version: str


def admit(manifest: Manifest, ref: ReleaseRef, facts: Facts) -> ReleaseRef:
    """Return `ref` with what the manifest says of itself, if the release may be installed here.

    Raises:
        TrustError: Another class (`trust.wrong_class`), another release than its path says
            (`trust.wrong_release`), or an older one than was committed here (`trust.rollback`).
        PackageError: Unknown schema (`package.schema`) or a newer agent is needed (`package.min_agent`).
    """
    # (1) made for this class, whatever path it was signed under
    if manifest.device_class != facts.device_class:
        message = (
            f"{ref.path}: for class {manifest.device_class}, this device is {facts.device_class}"
        )
        raise TrustError(message, code="trust.wrong_class")
    # (2) the release that its path names: sealed files and grants are bound to this identity
    expected = f"models/{manifest.release_id}/{MANIFEST_FILE}"
    if ref.path != expected:
        message = f"{ref.path}: its manifest calls itself {manifest.release_id}"
        raise TrustError(message, code="trust.wrong_release")
    # (3) not older than what was committed
    if manifest.release_counter < facts.floor:
        message = f"{ref.path}: release counter {manifest.release_counter} is below {facts.floor}"
        raise TrustError(message, code="trust.rollback")
    # (4) understood by this agent
    if manifest.schema != MANIFEST_SCHEMA:
        message = (
            f"{ref.path}: manifest schema {manifest.schema}, this agent reads {MANIFEST_SCHEMA}"
        )
        raise PackageError(message, code="package.schema", hint="update the agent")
    if version_numbers(manifest.min_agent) > version_numbers(facts.agent_version):
        message = f"{ref.path}: needs agent {manifest.min_agent}, this is {facts.agent_version}"
        raise PackageError(message, code="package.min_agent", hint="update the agent")
    return ReleaseRef(
        path=ref.path,
        sha256=ref.sha256,
        counter=manifest.release_counter,
    )


def version_numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version, without trailing zeros: 1.0 equals 1.0.0."""
    leading = re.match(r"\d+(\.\d+)*", version)
    numbers = [int(part) for part in leading.group().split(".")] if leading else []
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)
