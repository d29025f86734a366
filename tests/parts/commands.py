"""People with keys, policies that know them, and the commands they sign."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from securesystemslib.signer import CryptoSigner

from agent.schema.messages import COMMAND_TYPE, Policy, PolicyRule, PolicyUser, Role
from agent.trust.envelope import sign_envelope
from agent.trust.policy import Situation

NOW_S = 1_800_000_000


@dataclass(frozen=True)
class Person:
    """Somebody with a role and one or more keys."""

    name: str
    role: Role
    signers: tuple[CryptoSigner, ...]

    @property
    def user(self) -> PolicyUser:
        """The person as a policy lists them."""
        return PolicyUser(name=self.name, role=self.role, keys=[pem(s) for s in self.signers])


def pem(signer: CryptoSigner) -> str:
    """The signer's public key as PEM."""
    public = signer._private_key.public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def person(name: str, role: Role, keys: int = 1) -> Person:
    """A person; the first key is Ed25519, further ones are P-256."""
    first = CryptoSigner(ed25519.Ed25519PrivateKey.generate())
    others = [CryptoSigner(ec.generate_private_key(ec.SECP256R1())) for _ in range(keys - 1)]
    return Person(name, role, (first, *others))


ANN = person("ann", Role.ADMIN, keys=2)
ADAM = person("adam", Role.ADMIN)
DORA = person("dora", Role.DEPLOYER)
OTTO = person("otto", Role.OPERATOR)
VERA = person("vera", Role.VIEWER)
STRANGER = person("stranger", Role.ADMIN)

POLICY = Policy(
    schema=1,
    version=7,
    users=[each.user for each in (ANN, ADAM, DORA, OTTO, VERA)],
    commands={
        "status": PolicyRule(role=Role.VIEWER),
        "restart": PolicyRule(role=Role.OPERATOR),
        "deploy": PolicyRule(role=Role.DEPLOYER),
        "force-downgrade": PolicyRule(role=Role.ADMIN, approvals=2),
    },
)


@dataclass
class Memory:
    """What a device remembers of commands, for a `Situation`."""

    counters: dict[str, int] = field(default_factory=dict)
    ids: set[str] = field(default_factory=set)

    def situation(self, **changes: Any) -> Situation:
        """A device `cam-1` in group `dock` at NOW_S."""
        facts: dict[str, Any] = {
            "device": "cam-1",
            "groups": {"dock"},
            "now_s": NOW_S,
            "last_counter": lambda iss: self.counters.get(iss, 0),
            "seen": self.ids.__contains__,
        }
        return Situation(**{**facts, **changes})


def body(**changes: Any) -> dict[str, Any]:
    """A command body that Dora may send to `cam-1` at NOW_S."""
    good = {
        "v": 1,
        "id": "0123456789abcdef",
        "iss": "dora",
        "cmd": "deploy",
        "args": {"release": "models/shop/yolo/2/manifest.json", "sha256": "0f" * 32},
        "aud": "d/cam-1",
        "ctr": 5,
        "iat": NOW_S - 10,
        "exp": NOW_S + 600,
        "policy_ver": 7,
    }
    return {**good, **changes}


def command(*people: Person, payload_type: str = COMMAND_TYPE, **changes: Any) -> bytes:
    """A command signed with the first key of each of `people` (default: Dora)."""
    signers = [each.signers[0] for each in people or (DORA,)]
    return sign_envelope(json.dumps(body(**changes)).encode(), payload_type, signers)
