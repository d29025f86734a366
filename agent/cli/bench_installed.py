"""The variants of the release on this device, opened for a measurement: in memory only, as the agent does."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from agent.errors import ConfigError

if TYPE_CHECKING:
    from agent.vision.benchmark import ModelFile


@contextlib.contextmanager
def variants_here(config: Path, stated: ModelFile) -> Iterator[list[tuple[str, ModelFile]]]:
    """Open every variant on this device's disk; give id and file of each until the block ends.

    Args:
        config: The device's configuration.
        stated: What is the same for all of them.

    Raises:
        ConfigError: The configuration cannot be read, or no release is installed.
        TrustError: A file is not what its makers sealed.
        KeyUnavailableError: The device key cannot be used now.
        StorageError: A file cannot be read.
    """
    from agent.config.settings import Settings
    from agent.models.opening import opener_of
    from agent.models.store import ModelStore
    from agent.update.journal import Journal

    settings = Settings(config).config
    folder = Path(settings.state_dir)
    ref = Journal(folder).read().current
    if ref is None:
        message = f"{folder}: no release is installed"
        raise ConfigError(message, code="model.none", hint="name files with --model")
    release, opener = ModelStore(folder / "models").load(ref), opener_of(settings)
    with contextlib.ExitStack() as stack:
        found = []
        for variant in release.here:
            fd = opener.payload(release.running(variant.id))
            stack.callback(os.close, fd)
            file = replace(
                stated,
                path=f"/proc/{os.getpid()}/fd/{fd}",
                backend=variant.backend.value,
                family=variant.family.value,
                labels=release.manifest.labels,
            )
            found.append((variant.id, file))
        yield found
