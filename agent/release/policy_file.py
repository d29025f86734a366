"""The command policy as administrators write it: YAML with the fields of `Policy`, keys as PEM text."""

from __future__ import annotations

from pathlib import Path

from agent.host.disk import REAL_DISK, Disk
from agent.schema.document import config_from_yaml
from agent.schema.messages import Policy

_LIMIT = 1 << 20


def load_policy(path: Path, disk: Disk = REAL_DISK) -> Policy:
    """Read a policy.

    Raises:
        ConfigError: It does not fit its schema.
        StorageError: It cannot be read.
    """
    text = disk.read(path, _LIMIT).decode(errors="replace")
    return config_from_yaml(text, Policy, str(path))
