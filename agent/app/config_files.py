"""The configuration file across versions of the agent: brought up at the first start, kept for the way back.

    vigil.yaml            what the running version reads
    vigil.schema-1.yaml   what a version with that schema reads, kept when the file was brought up

Where the folder cannot be written (`/etc` of a hardened unit), the file stays as it is and is brought up in memory at
every start, so that the way back needs nothing.
"""

from __future__ import annotations

import logging
from pathlib import Path

from agent.config.reading import kept_copy, read_text, read_tree
from agent.errors import StorageError
from agent.host.disk import REAL_DISK, Disk
from agent.schema.config import CONFIG_SCHEMA
from agent.schema.config_versions import migrate
from agent.schema.document import config_tree, to_yaml

log = logging.getLogger(__name__)


def settle_config(path: Path, disk: Disk = REAL_DISK) -> None:
    """Write the file in this version's schema, keeping what was there under the name of its own.

    Raises:
        ConfigError: It cannot be read, or no way leads to this schema.
    """
    text, own = read_text(path), read_tree(path)
    found = config_tree(text, str(path))
    if own == found:
        return
    schema, kept = found["schema"], kept_copy(path, CONFIG_SCHEMA)
    new = read_text(kept) if schema > CONFIG_SCHEMA else to_yaml(own)
    try:
        # The copy first: a power cut between the two leaves the file as it was.
        disk.write_atomic(kept_copy(path, schema), text.encode(), mode=0o644)
        disk.write_atomic(path, new.encode(), mode=0o644)
    except StorageError as error:
        log.info("%s stays in schema %s and is read as %s: %s", path, schema, CONFIG_SCHEMA, error)
        return
    log.warning(
        "%s: from schema %s to %s; the old one is kept beside it", path, schema, CONFIG_SCHEMA
    )


def prepare_for(path: Path, schema: int, disk: Disk = REAL_DISK) -> None:
    """Write the copy that an older version will read; a newer one helps itself.

    Raises:
        ConfigError: No way leads there.
        StorageError: The folder cannot be written.
    """
    if schema < CONFIG_SCHEMA:
        text = to_yaml(migrate(read_tree(path), schema))
        disk.write_atomic(kept_copy(path, schema), text.encode(), mode=0o644)
