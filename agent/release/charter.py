"""Who signs what: the roles of a repository, their keys, thresholds and lifetimes (pure).

```
root 2-of-3 offline, 365 d
  targets 2-of-3, 90 d
    <class>  2-of-3 release approvers, 90 d, terminating, models/<class>/<name>/<version>/<file>
    policy   2-of-3 administrators, 90 d, terminating, policy/<file>
    agent    2-of-3 of the same administrators, 90 d, terminating, agent/<version>/<file>; from the first agent release on
  snapshot 1 online, 7 d
  timestamp 1 online, 1 d
```
Source: TUF specification 1.0.34, sections 4.3 to 4.6.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from securesystemslib.signer import Key
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, Root, Targets

from agent.errors import ConfigError
from agent.release.signers import load_publics
from agent.schema.agent_release import AGENT_ROLE

ROOT, TARGETS, POLICY, SNAPSHOT, TIMESTAMP = "root", "targets", "policy", "snapshot", "timestamp"
RELEASE = "release"
LIFETIMES = {
    ROOT: timedelta(days=365),
    TARGETS: timedelta(days=90),
    SNAPSHOT: timedelta(days=7),
    TIMESTAMP: timedelta(days=1),
}
DELEGATED_LIFETIME = timedelta(days=90)
OFFLINE_THRESHOLD = 2
_RESERVED = {ROOT, TARGETS, POLICY, SNAPSHOT, TIMESTAMP, AGENT_ROLE}
_CLASS = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


@dataclass(frozen=True)
class RoleKeys:
    """The keys of one role and how many of them must sign."""

    keys: tuple[Key, ...]
    threshold: int

    def __post_init__(self) -> None:
        distinct = len({key.keyid for key in self.keys})
        if not 1 <= self.threshold <= distinct:
            message = f"expected a threshold from 1 to {distinct} keys, found {self.threshold}"
            raise ConfigError(message, hint="give the role more keys or a smaller threshold")


@dataclass(frozen=True)
class Charter:
    """Everything that is decided when a repository is created.

    Attributes:
        classes: Device classes, each with its own delegation signed by the `release` keys.
    """

    classes: tuple[str, ...]
    root: RoleKeys
    targets: RoleKeys
    release: RoleKeys
    policy: RoleKeys
    snapshot: RoleKeys
    timestamp: RoleKeys

    def __post_init__(self) -> None:
        wrong = [name for name in self.classes if name in _RESERVED or not _CLASS.fullmatch(name)]
        if wrong or not self.classes or len(set(self.classes)) != len(self.classes):
            message = f"device classes: expected distinct identifiers, found {list(self.classes)}"
            raise ConfigError(message, hint=f"these names are taken: {sorted(_RESERVED)}")


def charter_from_keys(folder: Path, classes: tuple[str, ...], threshold: int) -> Charter:
    """Read the public keys of every role from `folder/<role>/*.pub`.

    Args:
        folder: Has the folders root, targets, release, policy, snapshot and timestamp.
        classes: Device classes.
        threshold: How many must sign for the offline roles; the online ones need one.

    Raises:
        ConfigError: A role has too few keys or a key cannot be read.
    """

    def role(name: str, needed: int) -> RoleKeys:
        keys = tuple(load_publics(folder / name).values())
        try:
            return RoleKeys(keys, needed)
        except ConfigError as error:
            raise ConfigError(f"{folder / name}: {error.message}", hint=error.hint) from error

    return Charter(
        classes=classes,
        root=role(ROOT, threshold),
        targets=role(TARGETS, threshold),
        release=role(RELEASE, threshold),
        policy=role(POLICY, threshold),
        snapshot=role(SNAPSHOT, 1),
        timestamp=role(TIMESTAMP, 1),
    )


def lifetime(role: str) -> timedelta:
    """Return how long a document of `role` is valid."""
    return LIFETIMES.get(role, DELEGATED_LIFETIME)


def new_root(charter: Charter, now: datetime) -> Metadata[Root]:
    """Return the first root document, unsigned."""
    root = Root(version=1, expires=now + lifetime(ROOT), consistent_snapshot=True)
    for name in (ROOT, TARGETS, SNAPSHOT, TIMESTAMP):
        role: RoleKeys = getattr(charter, name)
        for key in role.keys:
            root.add_key(key, name)
        root.roles[name].threshold = role.threshold
    return Metadata(root)


def new_targets(charter: Charter, now: datetime) -> Metadata[Targets]:
    """Return the first top-level targets document, unsigned: it only delegates."""
    # A pattern's `*` never matches `/` (TUF 4.5), so each path segment has its own.
    patterns = {name: f"models/{name}/*/*/*" for name in charter.classes} | {POLICY: "policy/*"}
    signers = dict.fromkeys(charter.classes, charter.release) | {POLICY: charter.policy}
    keys = {key.keyid: key for role in (charter.release, charter.policy) for key in role.keys}
    roles = {
        name: DelegatedRole(
            name,
            [key.keyid for key in signers[name].keys],
            signers[name].threshold,
            terminating=True,
            paths=[pattern],
        )
        for name, pattern in patterns.items()
    }
    expires = now + lifetime(TARGETS)
    return Metadata(Targets(version=1, expires=expires, delegations=Delegations(keys, roles)))


def delegate_agent(targets: Targets) -> bool:
    """Let the administrators of `policy` sign releases of the agent, too; return whether that is new."""
    delegations = targets.delegations
    if delegations is None or delegations.roles is None or AGENT_ROLE in delegations.roles:
        return False
    like = delegations.roles[POLICY]
    pattern = f"{AGENT_ROLE}/*/*"
    delegations.roles[AGENT_ROLE] = DelegatedRole(
        AGENT_ROLE, list(like.keyids), like.threshold, terminating=True, paths=[pattern]
    )
    return True


def new_delegated(role: str, now: datetime) -> Metadata[Targets]:
    """Return the first document of a delegated role, unsigned and empty."""
    return Metadata(Targets(version=1, expires=now + lifetime(role)))
