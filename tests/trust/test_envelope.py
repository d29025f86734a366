"""Envelopes: what every signature covers, and what is refused."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from securesystemslib.signer import SSlibKey

from agent.errors import TrustError
from agent.trust.envelope import add_signature, open_envelope, sign_envelope
from tests.parts.commands import ADAM, ANN, STRANGER

KIND = "application/vnd.vigil.test+json"
SIGNERS = [*ANN.signers, *ADAM.signers]
KEYS: dict[str, SSlibKey] = {s.public_key.keyid: s.public_key for s in SIGNERS}
GOOD = sign_envelope(b'{"a":1}', KIND, [SIGNERS[0]])


def refused(data: bytes, limit: int = 16384) -> str:
    with pytest.raises(TrustError) as caught:
        open_envelope(data, KIND, KEYS, limit)
    return caught.value.code


def changed(**fields: Any) -> bytes:
    return json.dumps({**json.loads(GOOD), **fields}).encode()


def test_the_payload_comes_back_with_every_key_that_signed_it() -> None:
    data = sign_envelope(b"payload", KIND, SIGNERS)
    assert open_envelope(data, KIND, KEYS) == (b"payload", frozenset(KEYS))


def test_a_second_person_can_add_a_signature_later() -> None:
    data = add_signature(GOOD, KIND, SIGNERS[2])
    expected = frozenset({SIGNERS[0].public_key.keyid, SIGNERS[2].public_key.keyid})
    assert open_envelope(data, KIND, KEYS) == (b'{"a":1}', expected)


def test_an_envelope_has_the_shape_that_dsse_prescribes() -> None:
    wire = json.loads(GOOD)
    assert set(wire) == {"payload", "payloadType", "signatures"}
    assert base64.b64decode(wire["payload"]) == b'{"a":1}'
    assert set(wire["signatures"][0]) == {"keyid", "sig"}


def test_an_edited_payload_is_refused() -> None:
    edited = base64.b64encode(b'{"a":2}').decode()
    assert refused(changed(payload=edited)) == "trust.bad_signature"


def test_another_payload_type_is_refused_even_with_its_own_signature() -> None:
    assert refused(changed(payloadType="other")) == "trust.wrong_type"
    other = json.loads(sign_envelope(b'{"a":1}', "other", [SIGNERS[0]]))
    assert refused(changed(signatures=other["signatures"])) == "trust.bad_signature"


def test_an_unknown_signer_is_refused_even_beside_a_known_one() -> None:
    both = sign_envelope(b"x", KIND, [SIGNERS[0], *STRANGER.signers])
    assert refused(both) == "trust.unknown_key"


def test_one_bad_signature_beside_a_good_one_is_refused() -> None:
    wire = json.loads(sign_envelope(b"x", KIND, SIGNERS[:2]))
    wire["signatures"][1]["sig"] = base64.b64encode(b"0" * 70).decode()
    assert refused(json.dumps(wire).encode()) == "trust.bad_signature"


def test_a_signature_under_another_persons_key_id_is_refused() -> None:
    wire = json.loads(GOOD)
    wire["signatures"][0]["keyid"] = SIGNERS[2].public_key.keyid
    assert refused(json.dumps(wire).encode()) == "trust.bad_signature"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "trust.malformed"),
        (b"null", "trust.malformed"),
        (b"[]", "trust.malformed"),
        (b"no json", "trust.malformed"),
        (b"\xff\xfe", "trust.malformed"),
        (b"[" * 16000, "trust.malformed"),
        (b'{"a":' * 3000, "trust.malformed"),
        (b'{"payload":"","payload":"","payloadType":"x","signatures":[]}', "trust.malformed"),
        (changed(extra=1), "trust.malformed"),
        (changed(payload=5), "trust.malformed"),
        (changed(payload="@@@"), "trust.malformed"),
        (changed(signatures={}), "trust.malformed"),
        (changed(signatures=[{"keyid": "x"}]), "trust.malformed"),
        (changed(signatures=json.loads(GOOD)["signatures"] * 2), "trust.malformed"),
        (changed(signatures=[]), "trust.unsigned"),
        (changed(signatures=[{"keyid": "\ud800", "sig": ""}]), "trust.unknown_key"),
    ],
)
def test_what_is_not_an_envelope_is_refused(data: bytes, code: str) -> None:
    assert refused(data) == code


def test_an_envelope_over_the_limit_is_not_even_parsed() -> None:
    assert refused(b"[" * 20000) == "trust.too_large"
    assert refused(GOOD, limit=len(GOOD) - 1) == "trust.too_large"


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_give_a_trust_error_and_nothing_else(data: bytes) -> None:
    assert refused(data).startswith("trust.")


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_any_change_gives_the_same_payload_or_a_trust_error(place: int, value: int) -> None:
    data = bytearray(GOOD)
    data[place] = value
    try:
        payload, _ = open_envelope(bytes(data), KIND, KEYS)
    except TrustError:
        return
    assert payload == b'{"a":1}'
