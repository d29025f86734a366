"""Asking for a release's key (attack list 25, 27 and 31 as far as the channel goes)."""

from __future__ import annotations

import pytest

from agent.errors import KeyUnavailableError, TransferError, TrustError, VigilError
from agent.schema.document import to_json
from agent.schema.messages import KeyReply
from agent.trust.grant import unwrap
from agent.update.grants import KeyBroker
from tests.parts.scripted_channels import KeyChannel
from tests.parts.update_device import device_key

RELEASE, DEK = "pi5/shapes/1.1", bytes(range(32))


@pytest.fixture
def channel() -> KeyChannel:
    return KeyChannel(device_key().public_bytes, deks={RELEASE: DEK})


def broker(channel: KeyChannel) -> KeyBroker:
    return KeyBroker(channel, timeout_s=60.0, clock=channel.clock)


def test_a_grant_opens_with_the_device_key(channel: KeyChannel) -> None:
    grant = broker(channel).grant(RELEASE)
    assert unwrap(grant, device_key(), RELEASE, "pi5", "cam-1") == DEK


@pytest.mark.parametrize("noise", [b"", b"garbage", b"{}", b"[" * 9999])
def test_noise_and_answers_to_others_are_ignored(channel: KeyChannel, noise: bytes) -> None:
    stranger = KeyReply(v=1, id="somebodyelse", status=403)
    channel.responses.extend([noise, to_json(stranger)])
    assert broker(channel).grant(RELEASE)


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (403, TrustError, "key.revoked"),
        (404, KeyUnavailableError, "key.unknown_release"),
        (503, TransferError, "key.no_answer"),
        (999, TransferError, "key.no_answer"),
    ],
)
def test_a_refusal_is_named(
    channel: KeyChannel, status: int, kind: type[VigilError], code: str
) -> None:
    channel.status = status
    with pytest.raises(kind) as caught:
        broker(channel).grant(RELEASE)
    assert caught.value.code == code


def test_silence_is_asked_again_and_then_given_up(channel: KeyChannel) -> None:
    channel.is_silent = True
    with pytest.raises(TransferError) as caught:
        broker(channel).grant(RELEASE)
    assert caught.value.code == "key.no_answer"
    assert 10 <= len(channel.requests) <= 13
    assert len({request.id for request in channel.requests}) == 1
