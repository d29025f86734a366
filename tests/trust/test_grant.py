"""Grants: a release's key, for one device and nobody else."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import KeyUnavailableError, TrustError
from agent.trust.grant import GRANT_BYTES, KEM_P256, unwrap, wrap
from agent.trust.keys import FileKey

DEK = b"k" * 32
KEY = FileKey(ec.generate_private_key(ec.SECP256R1()))
OTHER = FileKey(ec.generate_private_key(ec.SECP256R1()))
PLACE = ("shop/yolo/1", "shop", "cam-1")
GRANT = wrap(DEK, KEY.public_bytes, *PLACE)


class BrokenToken:
    """A key store whose token fails with whatever it is given."""

    def __init__(self, error: Exception) -> None:
        self.public_bytes = KEY.public_bytes
        self._error = error

    def exchange(self, peer_public: bytes) -> bytes:
        """Fail, as a token does that was pulled out."""
        del peer_public
        raise self._error


def test_a_grant_is_short_and_opens() -> None:
    assert len(GRANT) == GRANT_BYTES[KEM_P256] == 114
    assert unwrap(GRANT, KEY, *PLACE) == DEK


def test_two_grants_for_one_device_share_nothing_but_their_kind() -> None:
    assert wrap(DEK, KEY.public_bytes, *PLACE)[1:60] != GRANT[1:60]


@pytest.mark.parametrize(
    "place",
    [
        ("shop/yolo/2", "shop", "cam-1"),
        ("shop/yolo/1", "yard", "cam-1"),
        ("shop/yolo/1", "shop", "cam-2"),
        ("shop/yolo/1s", "hop", "cam-1"),
        ("shop/yolo/1", "shopcam", "-1"),
    ],
)
def test_a_grant_for_another_release_class_or_device_does_not_open(
    place: tuple[str, str, str],
) -> None:
    with pytest.raises(TrustError) as caught:
        unwrap(GRANT, KEY, *place)
    assert caught.value.code == "trust.grant"


def test_a_grant_for_another_key_does_not_open() -> None:
    with pytest.raises(TrustError) as caught:
        unwrap(GRANT, OTHER, *PLACE)
    assert caught.value.code == "trust.grant"


@pytest.mark.parametrize(
    "enc", [b"\x04" + bytes(64), b"\x04" + b"\xff" * 64, bytes(65)], ids=["zero", "off", "no point"]
)
def test_a_point_off_the_curve_is_tampering_and_the_key_lives_on(enc: bytes) -> None:
    with pytest.raises(TrustError):
        unwrap(GRANT[:1] + enc + GRANT[66:], KEY, *PLACE)
    assert unwrap(GRANT, KEY, *PLACE) == DEK


def test_an_unknown_kind_of_grant_is_named() -> None:
    with pytest.raises(TrustError) as caught:
        unwrap(b"\x02" + GRANT[1:], KEY, *PLACE)
    assert caught.value.code == "trust.malformed"


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300) | st.binary(min_size=113, max_size=113).map(lambda b: b"\x01" + b))
def test_any_bytes_give_a_trust_error_and_nothing_else(data: bytes) -> None:
    with pytest.raises(TrustError):
        unwrap(data, KEY, *PLACE)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, GRANT_BYTES[KEM_P256] - 1), st.integers(1, 255))
def test_no_byte_of_a_grant_can_be_changed(place: int, flip: int) -> None:
    changed = bytearray(GRANT)
    changed[place] ^= flip
    with pytest.raises(TrustError):
        unwrap(bytes(changed), KEY, *PLACE)


@pytest.mark.parametrize(
    "error",
    [
        KeyUnavailableError("token: PIN locked", code="key.locked"),
        RuntimeError("CKR_TOKEN_NOT_PRESENT"),
        OSError("device gone"),
    ],
)
def test_a_token_that_fails_is_not_tampering_and_its_cause_is_kept(error: Exception) -> None:
    with pytest.raises(KeyUnavailableError) as caught:
        unwrap(GRANT, BrokenToken(error), *PLACE)
    assert caught.value is error or caught.value.__cause__ is error
    assert str(error) in str(caught.value)
    assert caught.value.code == getattr(error, "code", "key.unavailable")


def test_wrapping_to_bytes_that_are_no_key_is_refused() -> None:
    with pytest.raises(TrustError) as caught:
        wrap(DEK, b"\x04" + bytes(64), *PLACE)
    assert caught.value.code == "trust.bad_point"
