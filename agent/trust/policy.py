"""Who may command what: one pure function that decides, in numbered steps.

Everything it needs to know of the world is in `Situation`; it changes nothing. What it returns is an
`Authorised` command, the only thing the ledger admits.

    authorised = authorise(data, policy, situation)      # or TrustError, with the code of the step
    ledger.admit(authorised, now_ms)                     # before the command runs

`aud` is `d/<device>` for one device and `g/<group>` for a group, as in the topics.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass

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

POLICY_SCHEMA = 1
CLOCK_SKEW_S = 120
MAX_LIFE_S = 24 * 3600
# Wide enough for a counter that is Unix milliseconds, far too small to burn an issuer's range at once.
MAX_COUNTER_JUMP = 2**41
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
    groups: Set[str]
    now_s: int
    last_counter: Callable[[str], int]
    seen: Callable[[str], bool]


@dataclass(frozen=True)
class Authorised:
    """A command that passed every check, and the people (sorted by name) who signed it."""

    body: CommandBody
    approvers: tuple[str, ...]


def authorise(data: bytes, policy: Policy, situation: Situation) -> Authorised:
    """Decide whether the envelope `data` is a command this device must obey now.

    Raises:
        TrustError: With the code of the first step that fails.
    """
    owners = key_owners(policy)
    keys = {keyid: key for keyid, (key, _) in owners.items()}
    # 1 size, 2 JSON without duplicate keys, 3 payload type, 4 every signature under a known key
    payload, keyids = open_envelope(data, COMMAND_TYPE, keys)
    signers = {owners[keyid][1].name: owners[keyid][1] for keyid in keyids}
    # 5 exactly the fields of a command, each of exactly its type
    body = trusted_json(payload, CommandBody, "command")
    _require(body.v == MESSAGE_VERSION, "malformed", f"expected version 1, found {body.v}")
    # 6 the issuer is one of the signers
    _require(body.iss in signers, "issuer", f"{body.iss!r} did not sign it")
    # 7 time, 8 policy version, 9 audience
    _check_time(body, situation.now_s)
    _check_policy_version(body, policy)
    _check_audience(body, situation)
    # 10 role, 11 enough distinct people with that role
    approvers = _check_people(body, policy, signers)
    # 12 counter, 13 command id
    _check_freshness(body, situation)
    return Authorised(body, approvers)


def key_owners(policy: Policy) -> dict[str, tuple[SSlibKey, PolicyUser]]:
    """Return every key of the policy by its key id, with the person who holds it.

    Raises:
        TrustError: A key cannot be read, or is of another kind than Ed25519 or P-256, or appears twice
            (`trust.repeated_key`), or two people share a name (`trust.policy`).
    """
    names = [user.name for user in policy.users]
    _require(len(set(names)) == len(names), "policy", "two users have one name")
    pairs = [(_load_key(pem, user), user) for user in policy.users for pem in user.keys]
    owners = {key.keyid: (key, user) for key, user in pairs}
    _require(len(owners) == len(pairs), "repeated_key", "one key is listed twice")
    refuse_repeated([key for key, _ in pairs], "policy")
    return owners


def check_policy(policy: Policy) -> None:
    """Refuse a policy that no device could follow safely; call it before a new one takes over.

    Raises:
        TrustError: As `key_owners`, or an unknown schema, or a rule that asks for no approval.
    """
    _require(policy.schema == POLICY_SCHEMA, "policy", f"unknown schema {policy.schema}")
    key_owners(policy)
    for name, rule in policy.commands.items():
        _require(
            rule.approvals >= 1,
            "policy",
            f"{name!r} asks for {rule.approvals} approvals",
        )


def _load_key(pem: str, user: PolicyUser) -> SSlibKey:
    try:
        public = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        message = f"policy: a key of {user.name!r} cannot be read"
        raise TrustError(message, code="trust.policy") from error
    on_p256 = isinstance(public, EllipticCurvePublicKey) and isinstance(public.curve, SECP256R1)
    kind = f"a key of {user.name!r} is neither Ed25519 nor P-256"
    _require(on_p256 or isinstance(public, Ed25519PublicKey), "policy", kind)
    return SSlibKey.from_crypto(public)


def _check_time(body: CommandBody, now_s: int) -> None:
    life = body.exp - body.iat
    _require(
        0 < life <= MAX_LIFE_S,
        "lifetime",
        f"expected a life of 1 s to 24 h, found {life} s",
    )
    early = body.iat - now_s
    _require(
        early <= CLOCK_SKEW_S,
        "future",
        f"issued {early} s in the future; check the clocks",
    )
    _require(now_s < body.exp, "expired", f"expired {now_s - body.exp} s ago")


def _check_policy_version(body: CommandBody, policy: Policy) -> None:
    problem = f"made under policy {body.policy_ver}, this device has {policy.version}"
    _require(body.policy_ver <= policy.version, "policy_outdated", problem)


def _check_audience(body: CommandBody, situation: Situation) -> None:
    mine = {f"d/{situation.device}", *(f"g/{group}" for group in situation.groups)}
    _require(
        body.aud in mine,
        "audience",
        f"meant for {body.aud[:80]!r}, not for this device",
    )


def _check_people(
    body: CommandBody, policy: Policy, signers: dict[str, PolicyUser]
) -> tuple[str, ...]:
    rule = policy.commands.get(body.cmd)
    if rule is None:
        raise _refused("unknown_command", f"the policy has no rule for {body.cmd!r}")
    problem = f"{body.iss!r} is not {rule.role.value} or more, which {body.cmd!r} asks for"
    _require(_may(signers[body.iss], rule), "role", problem)
    approvers = tuple(sorted(name for name, user in signers.items() if _may(user, rule)))
    problem = (
        f"{body.cmd!r} asks for {rule.approvals} people, {len(approvers)} with the role signed"
    )
    # A rule that asks for nobody still needs its issuer.
    _require(len(approvers) >= max(1, rule.approvals), "approvals", problem)
    return approvers


def _may(user: PolicyUser, rule: PolicyRule) -> bool:
    return _POWER[user.role] >= _POWER[rule.role]


def _check_freshness(body: CommandBody, situation: Situation) -> None:
    last = situation.last_counter(body.iss)
    problem = f"counter {body.ctr} of {body.iss!r} is not above {last}"
    _require(body.ctr > last, "counter", problem)
    problem = f"counter {body.ctr} of {body.iss!r} is too far above {last}"
    _require(body.ctr - last <= MAX_COUNTER_JUMP, "counter_jump", problem)
    _require(not situation.seen(body.id), "seen", f"id {body.id!r} was admitted before")


def _require(holds: bool, code: str, problem: str) -> None:
    if not holds:
        raise _refused(code, problem)


def _refused(code: str, problem: str) -> TrustError:
    return TrustError(f"command: {problem}", code=f"trust.{code}")
