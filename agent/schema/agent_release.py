"""A release of the agent itself: its wheels, one bundle for each Python and machine, under `agent/<version>/`."""

from __future__ import annotations

from typing import Annotated

import msgspec

from agent.schema.manifest import MANIFEST_FILE
from agent.schema.values import Positive, Sha256, Struct, TargetPath, Version

AGENT_SCHEMA = 1
AGENT_ROLE = "agent"
PythonVersion = Annotated[str, msgspec.Meta(pattern=r"^3\.[0-9]{1,2}$(?!\n)")]
Machine = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9_]{1,32}$(?!\n)")]
BundleName = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}\.tar$(?!\n)")]


class AgentBundle(Struct):
    """An uncompressed tar of wheels: the agent's and all it needs for this `python` on this `machine`."""

    python: PythonVersion
    machine: Machine
    file: BundleName
    size: Positive
    sha256: Sha256


class AgentManifest(Struct):
    """What a version of the agent is made of.

    Attributes:
        min_agent: Oldest version that can be updated to it in one step.
        config_schema: Schema of `vigil.yaml` that it reads.
    """

    schema: int
    version: Version
    min_agent: Version
    config_schema: int
    bundles: list[AgentBundle]


class UpdateAgentArgs(Struct):
    """Arguments of `update-agent`: `agent/<version>/manifest.json` and the digest that TUF must list for it.

    `force` allows an older version, and one that was rolled back on this device before.
    """

    agent: TargetPath
    sha256: Sha256
    force: bool = False


def manifest_path(version: str) -> str:
    """Return the target path of a version's manifest."""
    return f"{AGENT_ROLE}/{version}/{MANIFEST_FILE}"
