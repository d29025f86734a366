"""Releases of the agent itself: wheels bundled for each Python and machine, with a manifest.

A bundle must be complete: the device installs it without network.
"""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from collections.abc import Mapping
from pathlib import Path

from agent.errors import ConfigError, PackageError
from agent.host.disk import REAL_DISK, Disk
from agent.release.listing import FILE_LIMIT
from agent.schema.agent_release import (
    AGENT_SCHEMA,
    AgentBundle,
    AgentManifest,
    manifest_path,
)
from agent.schema.config import CONFIG_SCHEMA
from agent.schema.document import Malformed, parse_json, to_json
from agent.schema.manifest import MANIFEST_FILE

_MANIFEST_LIMIT = 1 << 18
_PLACE = re.compile(r"(3\.[0-9]{1,2})-([a-z0-9_]{1,32})")
_AGENT_WHEEL = re.compile(r"vigil_agent-([^-]+)-.*\.whl")


def build_agent_release(
    folder: Path,
    wheels: Mapping[str, Path],
    min_agent: str,
    config_schema: int = CONFIG_SCHEMA,
    disk: Disk = REAL_DISK,
) -> AgentManifest:
    """Write bundles and manifest to `folder`.

    Args:
        folder: To make.
        wheels: Folder of wheels for each place, named `<python>-<machine>`, for example `3.11-aarch64`.
        min_agent: Oldest version that may be updated to it in one step.
        config_schema: Schema of `vigil.yaml` that it reads.
        disk: Where to write.

    Raises:
        ConfigError: A place or a folder that cannot be, or folders with different versions of the agent.
        StorageError: It cannot be read or written.
    """
    disk.make_dirs(folder)
    bundles, versions = [], set()
    for place, source in wheels.items():
        named = _PLACE.fullmatch(place)
        if named is None:
            raise ConfigError(f"{place}: expected <python>-<machine>, for example 3.11-aarch64")
        versions.add(_version(source))
        data = _bundle(source, disk)
        name = f"vigil-{place.replace('.', '')}.tar"
        disk.write_atomic(folder / name, data, mode=0o644)
        digest = hashlib.sha256(data).hexdigest()
        bundle = AgentBundle(
            python=named[1], machine=named[2], file=name, size=len(data), sha256=digest
        )
        bundles.append(bundle)
    if len(versions) != 1:
        raise ConfigError(f"expected one version of the agent, found {sorted(versions) or 'none'}")
    manifest = AgentManifest(
        schema=AGENT_SCHEMA,
        version=versions.pop(),
        min_agent=min_agent,
        config_schema=config_schema,
        bundles=bundles,
    )
    disk.write_atomic(folder / MANIFEST_FILE, to_json(manifest), mode=0o644)
    return manifest


def agent_targets(folder: Path, disk: Disk) -> tuple[AgentManifest, dict[str, bytes]]:
    """Return the manifest of an agent release, and every file's bytes by target path.

    Raises:
        PackageError: A file is not the one that the manifest names.
        StorageError: A file cannot be read.
    """
    data = disk.read(folder / MANIFEST_FILE, _MANIFEST_LIMIT)
    try:
        manifest = parse_json(data, AgentManifest)
    except Malformed as error:
        raise PackageError(f"{folder / MANIFEST_FILE}: {error}", code="package.manifest") from error
    place = manifest_path(manifest.version)
    files = {place: data}
    for bundle in manifest.bundles:
        content = disk.read(folder / bundle.file, FILE_LIMIT)
        if hashlib.sha256(content).hexdigest() != bundle.sha256:
            message = f"{folder / bundle.file}: not the file that the manifest names"
            raise PackageError(message, code="package.damaged", hint="build the release again")
        files[f"{place.rpartition('/')[0]}/{bundle.file}"] = content
    return manifest, files


def _version(source: Path) -> str:
    found = [_AGENT_WHEEL.fullmatch(path.name) for path in source.glob("*.whl")]
    versions = [match[1] for match in found if match]
    if len(versions) != 1:
        raise ConfigError(f"{source}: expected one wheel of vigil-agent, found {len(versions)}")
    return versions[0]


def _bundle(source: Path, disk: Disk) -> bytes:
    """Return the same bytes for the same wheels, whoever packs them. Names of wheels may be longer than ustar's 100 bytes."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path in sorted(source.glob("*.whl")):
            data = disk.read(path, FILE_LIMIT)
            entry = tarfile.TarInfo(path.name)
            entry.size, entry.mode = len(data), 0o644
            archive.addfile(entry, io.BytesIO(data))
    return packed.getvalue()
