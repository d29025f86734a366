"""Documents on their way to being signed: reading, approving, counting approvals (no I/O).

A document is a TUF metadata file. It may carry any number of signatures; only signatures by keys that
its delegator lists count, each once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from securesystemslib.signer import Key, Signer
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Signed, Targets

from agent.errors import TrustError
from agent.release.model_signing import add_bundles, check_bundles, drop_bundles, take_bundles
from agent.trust.metadata import refuse_repeated_keys

Delegator = Root | Targets


@dataclass(frozen=True)
class Standing:
    """Where a document stands: key ids that have signed, that could, and how many are needed."""

    role: str
    version: int
    expires: datetime
    signed: tuple[str, ...]
    unsigned: tuple[str, ...]
    threshold: int

    @property
    def missing(self) -> int:
        """How many more approvals it needs."""
        return max(0, self.threshold - len(self.signed))


def read_document(data: bytes, source: str, kind: type[Signed]) -> Metadata[Any]:
    """Decode a metadata file; `source` names it in the error.

    Raises:
        TrustError: It is not metadata of that kind, or lists one public key twice.
    """
    try:
        document: Metadata[Any] = Metadata.from_bytes(data)
    except (RepositoryError, ValueError, RecursionError) as error:
        raise TrustError(f"{source}: {error}", code="trust.malformed") from error
    signed = document.signed
    if not isinstance(signed, kind):
        message = f"{source}: expected {kind.type} metadata, found {signed.type}"
        raise TrustError(message, code="trust.malformed")
    if isinstance(signed, Root | Targets):
        refuse_repeated_keys(signed)
    return document


def begin_anew(document: Metadata[Any], version: int, expires: datetime) -> None:
    """Make `document` a next version that nobody has approved."""
    document.signed.version = version
    document.signed.expires = expires
    document.signatures.clear()
    drop_bundles(document)


def standing(role: str, document: Metadata[Any], delegator: Delegator) -> Standing:
    """Count the valid approvals of `document` under the keys that `delegator` lists for `role`.

    Raises:
        TrustError: The delegator does not know the role.
    """
    try:
        result = delegator.get_verification_result(role, document.signed_bytes, document.signatures)
    except ValueError as error:
        message = f"{role}: its delegator does not know this role"
        raise TrustError(message, code="trust.unknown_role") from error
    return Standing(
        role=role,
        version=document.signed.version,
        expires=document.signed.expires,
        signed=tuple(sorted(result.signed)),
        unsigned=tuple(sorted(result.unsigned)),
        threshold=result.threshold,
    )


def require_approvals(role: str, document: Metadata[Any], delegator: Delegator) -> None:
    """Refuse a document that too few of its role's keys have signed, or with a bundle that is not theirs.

    Raises:
        TrustError: With code `trust.threshold`, or as `agent.release.model_signing.check_bundles`.
    """
    check_bundles(document, keys_of(role, delegator))
    now = standing(role, document, delegator)
    if now.missing:
        message = (
            f"{role} version {now.version}: expected {now.threshold} approvals, "
            f"found {len(now.signed)}"
        )
        hint = f"still to sign: {now.missing} of {', '.join(key[:12] for key in now.unsigned)}"
        raise TrustError(message, code="trust.threshold", hint=hint)


def approve(
    role: str,
    document: Metadata[Any],
    signers: Sequence[Signer],
    delegator: Delegator,
    published: Root | Targets | None = None,
) -> list[str]:
    """Add the signatures of `signers`, all of whom must be keys of `role`; `published` is what counts now.

    Returns:
        The new releases that got bundles for OpenSSF's model-signing, see `agent.release.model_signing`.

    Raises:
        TrustError: A signer has no say in this role; nothing was signed.
    """
    require_say(role, signers, delegator)
    for signer in signers:
        document.sign(signer, append=True)
    listed = published.targets if isinstance(published, Targets) else {}
    return add_bundles(document, listed, signers)


def require_say(role: str, signers: Sequence[Signer], delegator: Delegator) -> None:
    """Refuse signers whose keys the delegator does not list for `role`.

    Raises:
        TrustError: With code `trust.unknown_key`.
    """
    allowed = delegator.get_delegated_role(role).keyids
    strangers = [s.public_key.keyid[:12] for s in signers if s.public_key.keyid not in allowed]
    if strangers or not signers:
        message = f"{role}: the keys [{', '.join(strangers)}] have no say in this role"
        hint = f"sign with one of {', '.join(sorted(one[:12] for one in allowed))}"
        raise TrustError(message, code="trust.unknown_key", hint=hint)


def collect(
    role: str, document: Metadata[Any], carried: Metadata[Any], delegator: Delegator
) -> None:
    """Take over the valid approvals and the bundles that another copy of the same document carries.

    Raises:
        TrustError: The copy's content differs, or a bundle is not about it.
    """
    if carried.signed_bytes != document.signed_bytes:
        message = f"{role}: the approved copy is not the document that is staged here"
        raise TrustError(message, code="trust.different", hint="stage it again and approve that")
    for keyid in standing(role, carried, delegator).signed:
        document.signatures[keyid] = carried.signatures[keyid]
    take_bundles(document, carried, keys_of(role, delegator))


def keys_of(role: str, delegator: Delegator) -> dict[str, Key]:
    """Return the keys that may sign for `role`, by id."""
    return {keyid: delegator.get_key(keyid) for keyid in delegator.get_delegated_role(role).keyids}
