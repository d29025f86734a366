"""Who may command what: one pure function that decides, in numbered steps.

Everything it needs to know of the world is in `Situation`; it changes nothing. What it returns is an
`Authorised` command, the only thing the ledger admits.

Example:
    >>> authorised = authorise(data, policy, situation)  # or TrustError, with the code of the step
    >>> ledger.admit(authorised, now_ms)  # before the command runs

`aud` is `d/<device>` for one device and `g/<group>` for a group, as in the topics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from securesystemslib.signer import SSlibKey

from agent.errors import TrustError
from agent.schema.document import trusted_json
from agent.schema.messages import (
    COMMAND_TYPE,
    MESSAGE_VERSION,
    CommandBody,
    Policy,
    PolicyRule,
    PolicyUser,
    Role,
)
from agent.trust.envelope import open_envelope
from agent.trust.metadata import refuse_repeated

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from collections.abc import Set as AbstractSet

POLICY_SCHEMA = 1
CLOCK_SKEW_S = 120
MAX_LIFE_S = 24 * 3600
# Wide enough for a counter that is Unix milliseconds, far too small to burn an issuer's range at once.
MAX_COUNTER_JUMP = 2**41
# Whoever may go below the rollback floor, it is never one person alone.
LEAST_RULES = {"force-downgrade": PolicyRule(role=Role.ADMIN, approvals=2)}
_POWER = {role: rank for rank, role in enumerate(Role)}


@dataclass(frozen=True)
class Situation:
    """What the world looks like to one device when a command arrives.

    Attributes:
        device: This device's id.
        groups: The groups it belongs to.
        now_s: Unix seconds; the greater of the clock and the stored time floor.
        last_counter: The greatest counter admitted from an issuer, 0 for a new one.
        seen: Whether a command id was admitted before.
    """

    device: str
    groups: AbstractSet[str]
    now_s: int
    last_counter: Callable[[str], int]
    seen: Callable[[str], bool]


@dataclass(frozen=True)
class Authorised:
    """A command that passed every check, and the people (sorted by name) who signed it."""

    body: CommandBody
    approvers: tuple[str, ...]


def device_audience(device: str) -> str:
    """Return the `aud` of commands to one device."""
    return f"d/{device}"


def group_audience(group: str) -> str:
    """Return the `aud` of commands to a group."""
    return f"g/{group}"


def authorise(data: bytes, policy: Policy, situation: Situation) -> Authorised:
    """Decide whether the envelope `data` is a command this device must obey now.

    Raises:
        TrustError: With the code of the first step that fails.
    """
    owners = key_owners(policy)
    # 1 size, 2 JSON without duplicate keys, 3 payload type, 4 every signature under a known key
    keys = {keyid: owner.key for keyid, owner in owners.items()}
    payload, keyids = open_envelope(data, COMMAND_TYPE, keys)
    signers = {owners[keyid].user.name: owners[keyid].user for keyid in keyids}
    # 5 exactly the fields of a command, each of exactly its type
    body = trusted_json(payload, CommandBody, "command")
    # 6 version and issuer, who must be one of the signers
    _check_issuer(body, signers)
    # 7 time, 8 policy version, 9 audience
    _check_time(body, situation.now_s)
    _check_policy_version(body, policy)
    _check_audience(body, situation)
    # 10 role, 11 enough distinct people with that role
    approvers = _check_people(body, policy, signers)
    # 12 counter, 13 command id
    _check_freshness(body, situation)
    return Authorised(body, approvers)


@dataclass(frozen=True)
class KeyOwner:
    """A key of the policy and the person who holds it."""

    key: SSlibKey
    user: PolicyUser


def key_owners(policy: Policy) -> dict[str, KeyOwner]:
    """Return every key of the policy by its key id, with the person who holds it.

    Raises:
        TrustError: A key cannot be read or is neither Ed25519 nor P-256, or two people share a name
            (`trust.policy`), or a key appears twice (`trust.repeated_key`).
    """
    names = [user.name for user in policy.users]
    if len(set(names)) != len(names):
        raise _bad_policy("two users have one name")
    pairs = [KeyOwner(_load_key(pem, user), user) for user in policy.users for pem in user.keys]
    refuse_repeated([pair.key for pair in pairs], "policy")
    return {pair.key.keyid: pair for pair in pairs}


def check_policy(policy: Policy) -> None:
    """Refuse a policy that no device could follow safely; call it before a new one takes over.

    Raises:
        TrustError: As `key_owners`, or an unknown schema, or a rule that asks for no approval, or for less than a
            command needs (`LEAST_RULES`).
    """
    if policy.schema != POLICY_SCHEMA:
        raise _bad_policy(f"expected schema {POLICY_SCHEMA}, found {policy.schema}")
    key_owners(policy)
    for name, rule in policy.commands.items():
        if rule.approvals < 1:
            raise _bad_policy(f"{name!r}: expected 1 approval or more, found {rule.approvals}")
        _check_least(name, rule)


def _check_least(name: str, rule: PolicyRule) -> None:
    least = LEAST_RULES.get(name, rule)
    if rule.approvals < least.approvals or _POWER[rule.role] < _POWER[least.role]:
        expected = f"{least.approvals} approvals of {least.role.value}"
        found = f"{rule.approvals} of {rule.role.value}"
        raise _bad_policy(f"{name!r}: expected {expected} or more, found {found}")


def _load_key(pem: str, user: PolicyUser) -> SSlibKey:
    try:
        public = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _bad_policy(f"a key of {user.name!r} cannot be read") from error
    on_p256 = isinstance(public, EllipticCurvePublicKey) and isinstance(public.curve, SECP256R1)
    if not (on_p256 or isinstance(public, Ed25519PublicKey)):
        raise _bad_policy(f"a key of {user.name!r} is neither Ed25519 nor P-256")
    return SSlibKey.from_crypto(public)


def _check_issuer(body: CommandBody, signers: Mapping[str, PolicyUser]) -> None:
    if body.v != MESSAGE_VERSION:
        raise _refused("malformed", f"expected version {MESSAGE_VERSION}, found {body.v}")
    if body.iss not in signers:
        raise _refused("issuer", f"issued by {body.iss!r}, who did not sign it")


def _check_time(body: CommandBody, now_s: int) -> None:
    life_s, early_s = body.exp - body.iat, body.iat - now_s
    if not 0 < life_s <= MAX_LIFE_S:
        raise _refused("lifetime", f"expected a life of 1 s to 24 h, found {life_s} s")
    if early_s > CLOCK_SKEW_S:
        raise _refused("future", f"issued {early_s} s in the future; check the clocks")
    if now_s >= body.exp:
        raise _refused("expired", f"expired {now_s - body.exp} s ago")


def _check_policy_version(body: CommandBody, policy: Policy) -> None:
    if body.policy_ver > policy.version:
        problem = f"made under policy {body.policy_ver}, this device has {policy.version}"
        raise _refused("policy_outdated", problem)


def _check_audience(body: CommandBody, situation: Situation) -> None:
    if body.aud not in {device_audience(situation.device), *map(group_audience, situation.groups)}:
        raise _refused("audience", f"meant for {body.aud[:80]!r}, not for this device")


def _check_people(
    body: CommandBody, policy: Policy, signers: Mapping[str, PolicyUser]
) -> tuple[str, ...]:
    rule = policy.commands.get(body.cmd)
    if rule is None:
        raise _refused("unknown_command", f"the policy has no rule for {body.cmd!r}")
    approvers = tuple(sorted(name for name, user in signers.items() if _may(user, rule)))
    if body.iss not in approvers:
        problem = f"{body.cmd!r} asks for {rule.role.value} or more, {body.iss!r} is less"
        raise _refused("role", problem)
    if len(approvers) < rule.approvals:
        problem = (
            f"{body.cmd!r} asks for {rule.approvals} people with the role, found {len(approvers)}"
        )
        raise _refused("approvals", problem)
    return approvers


def _may(user: PolicyUser, rule: PolicyRule) -> bool:
    return _POWER[user.role] >= _POWER[rule.role]


def _check_freshness(body: CommandBody, situation: Situation) -> None:
    last = situation.last_counter(body.iss)
    if body.ctr <= last:
        raise _refused("counter", f"counter {body.ctr} of {body.iss!r} is not above {last}")
    if body.ctr - last > MAX_COUNTER_JUMP:
        raise _refused(
            "counter_jump", f"counter {body.ctr} of {body.iss!r} is too far above {last}"
        )
    if situation.seen(body.id):
        raise _refused("seen", f"id {body.id!r} was admitted before")


def _refused(code: str, problem: str) -> TrustError:
    return TrustError(f"command: {problem}", code=f"trust.{code}")


def _bad_policy(problem: str) -> TrustError:
    return TrustError(f"policy: {problem}", code="trust.policy")
