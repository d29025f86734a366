"""The command policy as administrators write it: YAML with the fields of `Policy`, keys as PEM text."""

from __future__ import annotations

from pathlib import Path

from agent.errors import ConfigError, TrustError
from agent.host.disk import REAL_DISK, Disk
from agent.schema.document import config_from_yaml
from agent.schema.messages import Policy
from agent.trust.policy import check_policy

_LIMIT = 1 << 20


def load_policy(path: Path, disk: Disk = REAL_DISK) -> Policy:
    """Read a policy and check it as devices will.

    Raises:
        ConfigError: It does not fit its schema, or devices would refuse it.
        StorageError: It cannot be read.
    """
    text = disk.read(path, _LIMIT).decode(errors="replace")
    policy = config_from_yaml(text, Policy, str(path))
    try:
        check_policy(policy)
    except TrustError as error:
        raise ConfigError(f"{path}: {error}", code=error.code) from error
    return policy
