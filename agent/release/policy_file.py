"""The command policy as administrators write it: YAML with the fields of `Policy`.

A person's key is PEM text, or the path of a `.pub` file relative to the policy's folder.
"""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from agent.host.disk import REAL_DISK, Disk
from agent.schema.document import config_from_yaml
from agent.schema.messages import Policy

_LIMIT = 1 << 20


def load_policy(path: Path, disk: Disk = REAL_DISK) -> Policy:
    """Read a policy.

    Raises:
        ConfigError: It does not fit its schema.
        StorageError: It or a key's file cannot be read.
    """
    text = disk.read(path, _LIMIT).decode(errors="replace")
    policy = config_from_yaml(text, Policy, str(path))

    def pem(key: str) -> str:
        if key.startswith("-----BEGIN"):
            return key
        return disk.read(path.resolve().parent / key, _LIMIT).decode(errors="replace")

    users = [replace(user, keys=[pem(key) for key in user.keys]) for user in policy.users]
    return replace(policy, users=users)
