"""A key that was lost or stolen gives way to another: which documents say so, staged to be approved by who is left.

| role | who lists its keys | staged |
| --- | --- | --- |
| root, snapshot, timestamp | root | root |
| targets | root | root, targets |
| release | targets | targets, every device class |
| policy | targets | targets, policy and, where there is one, agent |

What the old key helped to approve is approved anew, so that nothing hangs on its signature. A root that replaces a root key
needs the threshold of the keys before and of those after (TUF specification 1.0.34, section 6.1).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from securesystemslib.signer import Key
from tuf.api.metadata import Root, Targets

from agent.errors import ConfigError, TrustError
from agent.release.charter import POLICY, RELEASE, ROOT, SNAPSHOT, TARGETS, TIMESTAMP

_BY_ROOT = (ROOT, TARGETS, SNAPSHOT, TIMESTAMP)
ROLES = (*_BY_ROOT, RELEASE, POLICY)


class Staging(Protocol):
    """What is asked of a repository."""

    def roles(self, *, administered: bool = False) -> list[str]:
        """Return the device classes, or the other delegated roles: those of administrators."""

    def amend(self, role: str, change: Callable[[Any], object]) -> None:
        """Stage a next version of `role`'s document with a change."""

    def renew(self, role: str) -> None:
        """Stage `role`'s document anew."""


def replace_key(repository: Staging, role: str, old: Key, new: Key) -> Sequence[str]:
    """Stage what makes `new` count in place of `old`; return the roles to be approved.

    Args:
        repository: Where it is staged.
        role: One of `ROLES`: a key folder's name.
        old: The public key that was lost or stolen.
        new: The public key of the same or another person.

    Raises:
        ConfigError: There is no such role.
        TrustError: `old` has no say in it, or `new` has one already; nothing is staged.
    """
    if role not in ROLES:
        raise ConfigError(f"{role}: expected one of {', '.join(ROLES)}")
    if role in _BY_ROOT:
        repository.amend(ROOT, partial(_exchange, roles=[role], old=old, new=new))
        anew = [TARGETS] if role == TARGETS else []
        delegator = ROOT
    else:
        anew = repository.roles(administered=role == POLICY)
        repository.amend(TARGETS, partial(_exchange, roles=anew, old=old, new=new))
        delegator = TARGETS
    for one in anew:
        repository.renew(one)
    return [delegator, *anew]


def _exchange(delegator: Root | Targets, roles: Sequence[str], old: Key, new: Key) -> None:
    for role in roles:
        keyids = delegator.get_delegated_role(role).keyids
        if old.keyid not in keyids:
            message = f"{role}: the key {old.keyid[:12]} has no say in this role"
            raise TrustError(message, code="trust.unknown_key")
        if new.keyid in keyids:
            message = f"{role}: the key {new.keyid[:12]} has a say in this role already"
            raise TrustError(message, code="trust.repeated_key", hint="make a new key for it")
        delegator.revoke_key(old.keyid, role)
        delegator.add_key(new, role)
