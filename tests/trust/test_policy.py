"""Who may command what: every rule with a command that breaks just this one."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from securesystemslib.signer import CryptoSigner

from agent.errors import TrustError
from agent.schema.messages import COMMAND_TYPE, Policy, PolicyRule, Role
from agent.trust.envelope import sign_envelope
from agent.trust.policy import (
    CLOCK_SKEW_S,
    MAX_COUNTER_JUMP,
    MAX_LIFE_S,
    Situation,
    authorise,
    check_policy,
)
from tests.parts.commands import (
    ADAM,
    ANN,
    DORA,
    NOW_S,
    OTTO,
    POLICY,
    STRANGER,
    VERA,
    Memory,
    Person,
    body,
    command,
    pem,
    person,
)

HERE = Memory().situation()


def refused(data: bytes, policy: Policy = POLICY, situation: Situation = HERE) -> str:
    with pytest.raises(TrustError) as caught:
        authorise(data, policy, situation)
    return caught.value.code


def test_a_proper_command_is_authorised_and_its_signers_named() -> None:
    result = authorise(command(), POLICY, HERE)
    assert (result.body.cmd, result.body.ctr, result.approvers) == ("deploy", 5, ("dora",))


def test_a_group_command_reaches_the_groups_devices() -> None:
    assert authorise(command(aud="g/dock"), POLICY, HERE).body.aud == "g/dock"


def test_two_admins_may_do_what_asks_for_two() -> None:
    data = command(ANN, ADAM, iss="ann", cmd="force-downgrade")
    assert authorise(data, POLICY, HERE).approvers == ("adam", "ann")


def test_a_person_with_less_power_may_sign_along_but_does_not_count() -> None:
    result = authorise(command(DORA, OTTO), POLICY, HERE)
    assert result.approvers == ("dora",)


def test_a_greater_role_includes_the_lesser() -> None:
    assert authorise(command(ANN, iss="ann", cmd="status"), POLICY, HERE).approvers == ("ann",)


# One line per attack: what it is, the command, the code it is refused with.
ATTACKS: list[tuple[str, bytes, str]] = [
    ("a stranger's key", command(STRANGER, iss="stranger"), "trust.unknown_key"),
    ("a stranger beside a deployer", command(DORA, STRANGER), "trust.unknown_key"),
    ("issued in another's name", command(OTTO, iss="dora"), "trust.issuer"),
    ("issued by nobody", command(iss="nobody"), "trust.issuer"),
    ("another payload type", command(payload_type="text/plain"), "trust.wrong_type"),
    ("just expired", command(exp=NOW_S), "trust.expired"),
    ("long expired", command(iat=NOW_S - 900, exp=NOW_S - 600), "trust.expired"),
    ("from the future", command(iat=NOW_S + CLOCK_SKEW_S + 1), "trust.future"),
    ("lives too long", command(exp=NOW_S - 10 + MAX_LIFE_S + 1), "trust.lifetime"),
    ("expires before it begins", command(exp=NOW_S - 11), "trust.lifetime"),
    ("made under a newer policy", command(policy_ver=8), "trust.policy_outdated"),
    ("for another device", command(aud="d/cam-2"), "trust.audience"),
    ("for another group", command(aud="g/yard"), "trust.audience"),
    ("for a group named like the device", command(aud="g/cam-1"), "trust.audience"),
    ("for everybody", command(aud="*"), "trust.audience"),
    ("for a wildcard", command(aud="d/+"), "trust.audience"),
    ("a viewer deploys", command(VERA, iss="vera"), "trust.role"),
    ("an operator deploys", command(OTTO, iss="otto"), "trust.role"),
    ("an operator hides behind an admin", command(OTTO, ANN, iss="otto"), "trust.role"),
    ("one of two approvals", command(ANN, iss="ann", cmd="force-downgrade"), "trust.approvals"),
    (
        "an admin and an operator",
        command(ANN, OTTO, iss="ann", cmd="force-downgrade"),
        "trust.approvals",
    ),
    ("a command without a rule", command(cmd="format-disk"), "trust.unknown_command"),
    ("counter of zero", command(ctr=0), "trust.malformed"),
    ("negative counter", command(ctr=-1), "trust.malformed"),
    ("a counter that burns the range", command(ctr=2**60), "trust.malformed"),
    ("a counter that jumps", command(ctr=MAX_COUNTER_JUMP + 1), "trust.counter_jump"),
    ("boolean counter", command(ctr=True), "trust.malformed"),
    ("fractional counter", command(ctr=5.0), "trust.malformed"),
    ("text for a counter", command(ctr="5"), "trust.malformed"),
    ("no counter", command(ctr=None), "trust.malformed"),
    ("counter that is no number", command(ctr=float("nan")), "trust.malformed"),
    ("expiry beyond all time", command(exp=float("inf")), "trust.malformed"),
    ("another version", command(v=2), "trust.malformed"),
    ("an extra field", command(sudo=True), "trust.malformed"),
    ("arguments that are no object", command(args=[]), "trust.malformed"),
    ("a path for an id", command(id="../../etc/passwd"), "trust.malformed"),
]


@pytest.mark.parametrize(
    ("data", "code"), [attack[1:] for attack in ATTACKS], ids=[attack[0] for attack in ATTACKS]
)
def test_an_attack_is_refused_with_its_own_code(data: bytes, code: str) -> None:
    assert refused(data) == code


def test_the_same_admin_with_two_keys_is_one_person() -> None:
    text = json.dumps(body(iss="ann", cmd="force-downgrade")).encode()
    data = sign_envelope(text, COMMAND_TYPE, list(ANN.signers))
    assert refused(data) == "trust.approvals"


def test_a_command_with_a_missing_field_is_refused() -> None:
    for name in body():
        partial = {key: value for key, value in body().items() if key != name}
        data = sign_envelope(json.dumps(partial).encode(), COMMAND_TYPE, list(DORA.signers))
        assert refused(data) == "trust.malformed"


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"{",
        b"[" * 5000,
        json.dumps(body()).encode().replace(b'"ctr": 5', b'"ctr": 5, "ctr": 6'),
    ],
)
def test_a_signed_body_that_is_no_command_is_refused(payload: bytes) -> None:
    assert refused(sign_envelope(payload, COMMAND_TYPE, list(DORA.signers))) == "trust.malformed"


def test_an_exact_replay_and_an_older_counter_are_refused() -> None:
    memory = Memory(counters={"dora": 5})
    assert refused(command(ctr=5), situation=memory.situation()) == "trust.counter"
    assert refused(command(ctr=4), situation=memory.situation()) == "trust.counter"
    assert authorise(command(ctr=6), POLICY, memory.situation()).body.ctr == 6


def test_counters_of_different_people_do_not_disturb_each_other() -> None:
    memory = Memory(counters={"ann": 10**9})
    assert authorise(command(ctr=1), POLICY, memory.situation()).body.ctr == 1


def test_a_counter_of_unix_milliseconds_is_accepted_from_a_new_issuer() -> None:
    assert authorise(command(ctr=NOW_S * 1000), POLICY, HERE).body.ctr == NOW_S * 1000


def test_an_id_is_accepted_once_even_with_a_new_counter() -> None:
    memory = Memory(ids={body()["id"]})
    assert refused(command(ctr=9), situation=memory.situation()) == "trust.seen"


@pytest.mark.parametrize("now_s", [0, 1, NOW_S - 10**8, NOW_S + 10**8, 4_102_444_800])
def test_a_clock_that_is_wrong_refuses_every_command(now_s: int) -> None:
    code = refused(command(), situation=Memory().situation(now_s=now_s))
    assert code in {"trust.future", "trust.expired"}


def test_a_small_difference_of_clocks_is_borne() -> None:
    assert authorise(command(iat=NOW_S + CLOCK_SKEW_S), POLICY, HERE).body.cmd == "deploy"


def test_a_person_who_left_the_policy_has_no_more_say() -> None:
    users = [user for user in POLICY.users if user.name != "dora"]
    without = msgspec.structs.replace(POLICY, version=8, users=users)
    assert refused(command(), policy=without) == "trust.unknown_key"


def test_a_person_whose_role_was_lowered_has_less_say() -> None:
    users = [
        msgspec.structs.replace(user, role=Role.VIEWER) if user.name == "dora" else user
        for user in POLICY.users
    ]
    assert refused(command(), policy=msgspec.structs.replace(POLICY, users=users)) == "trust.role"


def test_a_command_made_under_an_older_policy_is_judged_by_the_present_one() -> None:
    assert authorise(command(policy_ver=3), POLICY, HERE).body.policy_ver == 3


# the policy itself ------------------------------------------------------------------------------


def with_users(*people: Person, **changes: Any) -> Policy:
    return msgspec.structs.replace(POLICY, users=[each.user for each in people], **changes)


def test_one_key_under_two_names_is_refused() -> None:
    twin = Person("twin", Role.ADMIN, ANN.signers[:1])
    with pytest.raises(TrustError) as caught:
        check_policy(with_users(ANN, twin))
    assert caught.value.code == "trust.repeated_key"
    assert refused(command(ANN, iss="ann"), policy=with_users(ANN, twin)) == "trust.repeated_key"


def test_one_key_spelled_in_two_ways_is_refused() -> None:
    text = pem(DORA.signers[0])
    users = [DORA.user, msgspec.structs.replace(OTTO.user, keys=[f"note\n{text}\n\n"])]
    with pytest.raises(TrustError) as caught:
        check_policy(msgspec.structs.replace(POLICY, users=users))
    assert caught.value.code == "trust.repeated_key"


def _p384() -> str:
    return pem(CryptoSigner(ec.generate_private_key(ec.SECP384R1())))


def _rsa() -> str:
    return pem(CryptoSigner(rsa.generate_private_key(65537, 2048)))


@pytest.mark.parametrize("key", ["", "no key", "\ud800", _p384(), _rsa()])
def test_a_key_of_another_kind_is_refused(key: str) -> None:
    users = [msgspec.structs.replace(DORA.user, keys=[key])]
    with pytest.raises(TrustError, match="dora") as caught:
        check_policy(msgspec.structs.replace(POLICY, users=users))
    assert caught.value.code == "trust.policy"


def _with_downgrade(role: Role, approvals: int) -> Policy:
    rule = PolicyRule(role=role, approvals=approvals)
    return msgspec.structs.replace(POLICY, commands={"force-downgrade": rule})


@pytest.mark.parametrize(
    "policy",
    [
        with_users(ANN, person("ann", Role.ADMIN)),
        msgspec.structs.replace(POLICY, schema=2),
        msgspec.structs.replace(
            POLICY, commands={"status": PolicyRule(role=Role.VIEWER, approvals=0)}
        ),
        _with_downgrade(Role.ADMIN, 1),
        _with_downgrade(Role.DEPLOYER, 2),
    ],
    ids=[
        "one name twice",
        "unknown schema",
        "no approval",
        "one person may downgrade",
        "deployers may downgrade",
    ],
)
def test_a_policy_nobody_can_follow_safely_is_refused(policy: Policy) -> None:
    with pytest.raises(TrustError) as caught:
        check_policy(policy)
    assert caught.value.code == "trust.policy"


def test_the_policy_of_these_tests_is_sound() -> None:
    check_policy(POLICY)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda child: st.lists(child, max_size=3) | st.dictionaries(st.text(max_size=5), child),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(body())), JSON)
def test_any_value_in_any_field_gives_a_command_or_a_trust_error(name: str, value: Any) -> None:
    data = command(**{name: value})
    with contextlib.suppress(TrustError):
        assert authorise(data, POLICY, HERE).body.iss == "dora"
