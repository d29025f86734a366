"""What a person agrees to by signing, in words: a staged document against the published one (no I/O).

Two people who see the same digest sign the same document. What a document lists is read from the staged files and must be what
is listed, so that nobody signs what they cannot see.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tuf.api.metadata import Metadata, Role, Root, Targets

from agent.release.attest_format import PROVENANCE_FILE, Statement
from agent.schema.document import trusted_json
from agent.schema.manifest import MANIFEST_FILE, Manifest
from agent.schema.messages import Policy

_SHOWN_DIGITS = 12
_POLICY_FOLDER, _MODELS_FOLDER = "policy/", "models/"

ReadTarget = Callable[[str], bytes]


@dataclass(frozen=True)
class Review:
    """One staged document.

    Attributes:
        sha256: Digest of what is signed.
        changes: What differs from the published version, one line each; indented lines belong to the line before.
    """

    role: str
    version: int
    expires: datetime
    sha256: str
    changes: tuple[str, ...]


def review(
    role: str, staged: Metadata[Any], published: Root | Targets | None, read: ReadTarget
) -> Review:
    """Say what the document `staged` changes.

    Args:
        role: Whose document it is.
        staged: The document.
        published: What counts now; None where nothing is published.
        read: Gives the bytes of a listed path and makes sure that they are what is listed.

    Raises:
        TrustError: A listed file is not what is listed, or cannot be read.
        StorageError: A listed file is not there.
    """
    signed = staged.signed
    changes = [*_keys(published, signed), *_listed(published, signed, read)]
    return Review(
        role=role,
        version=signed.version,
        expires=signed.expires,
        sha256=hashlib.sha256(staged.signed_bytes).hexdigest(),
        changes=tuple(changes or ["nothing but a later expiry"]),
    )


def _keys(before: Root | Targets | None, after: Root | Targets) -> Iterator[str]:
    """Say whose signatures count for which role from now on."""
    known = {} if before is None else _roles(before)
    new = _roles(after)
    for name in sorted(known.keys() | new.keys()):
        old_ids, old_threshold = _say(known.get(name))
        ids, threshold = _say(new.get(name))
        if (old_ids, old_threshold) == (ids, threshold):
            continue
        exchanged = [f"+{key[:_SHOWN_DIGITS]}" for key in sorted(ids - old_ids)]
        exchanged += [f"-{key[:_SHOWN_DIGITS]}" for key in sorted(old_ids - ids)]
        yield f"signatures for {name}: {threshold} of {len(ids)} keys ({' '.join(exchanged)})"


def _roles(document: Root | Targets) -> dict[str, Role]:
    if isinstance(document, Root):
        return dict(document.roles)
    delegations = document.delegations
    return dict(delegations.roles or {}) if delegations else {}


def _say(role: Role | None) -> tuple[set[str], int]:
    return (set(), 0) if role is None else (set(role.keyids), role.threshold)


def _listed(
    before: Root | Targets | None, after: Root | Targets, read: ReadTarget
) -> Iterator[str]:
    known = before.targets if isinstance(before, Targets) else {}
    new = after.targets if isinstance(after, Targets) else {}
    for path in sorted(known.keys() - new.keys()):
        yield f"no longer listed: {path}"
    changed = [path for path, target in new.items() if known.get(path) != target]
    for path in sorted(changed, key=lambda one: (not one.endswith(MANIFEST_FILE), one)):
        target, data = new[path], read(path)
        digest = target.hashes["sha256"]
        yield f"{path}: {target.length} bytes, sha256 {digest}"
        if path.startswith(_POLICY_FOLDER):
            yield from _policy(trusted_json(data, Policy, path))
        elif path.startswith(_MODELS_FOLDER) and path.endswith(f"/{MANIFEST_FILE}"):
            yield from _release(trusted_json(data, Manifest, path))
        elif path.endswith(f"/{PROVENANCE_FILE}"):
            yield from _made_from(trusted_json(data, Statement, path))


def _release(manifest: Manifest) -> Iterator[str]:
    yield (
        f"  release {manifest.release_id}, counter {manifest.release_counter}, "
        f"agents from {manifest.min_agent} on, classes: {', '.join(manifest.labels)}"
    )
    for one in manifest.variants:
        size = f"{one.input.width}x{one.input.height}"
        yield f"  {one.id}: {one.backend.value} {one.precision.value} {size}, mAP50-95 {one.accuracy:.4f}"


def _made_from(statement: Statement) -> Iterator[str]:
    made = statement.predicate
    for one in made.build_definition.resolved_dependencies:
        yield f"  from {one.name}: sha256 {one.digest.get('sha256', '')}"
    yield f"  by {', '.join(f'{n} {v}' for n, v in made.run_details.builder.version.items())}"


def _policy(policy: Policy) -> Iterator[str]:
    yield f"  policy version {policy.version}"
    for user in policy.users:
        yield f"  {user.name}: {user.role.value}, {len(user.keys)} key(s)"
    for name, rule in sorted(policy.commands.items()):
        yield f"  {name}: from {rule.role.value} on, {rule.approvals} approval(s)"
