"""The block protocol against a scripted server (attack list 31 to 35)."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import pytest

from agent.errors import TransferError
from agent.schema.blocks import OUT_OF_RANGE, BlockReply, BlockRequest
from agent.update.pace import PaceLimits
from agent.update.sources.blocks import BlockLimits, BlockSource
from tests.parts.scripted_channels import BlockChannel, Fault, busy, silent, twice

DATA = os.urandom(3_000_017)
BLOCK = 128 * 1024


def channel() -> BlockChannel:
    return BlockChannel({"a/b": DATA, "empty": b"", "exact": DATA[: 2 * BLOCK]})


def pull(at: BlockChannel, path: str = "a/b", start: int = 0, **limits: Any) -> bytes:
    source = BlockSource(at, dataclasses.replace(BlockLimits(), **limits), at.clock)
    return b"".join(source.read(path, start))


def changed(**changes: Any) -> Fault:
    return lambda _request, reply: [dataclasses.replace(reply, **changes).encode()]


@pytest.mark.parametrize(
    ("path", "data"), [("a/b", DATA), ("empty", b""), ("exact", DATA[: 2 * BLOCK])]
)
def test_a_file_arrives_whole(path: str, data: bytes) -> None:
    assert pull(channel(), path) == data


def test_a_transfer_can_start_anywhere() -> None:
    assert pull(channel(), start=1_234_567) == DATA[1_234_567:]
    assert pull(channel(), start=len(DATA)) == b""


def test_no_more_requests_are_open_than_the_window_allows() -> None:
    at, highest = channel(), 0
    source = BlockSource(at, BlockLimits(), at.clock)
    for answered, _ in enumerate(source.read("a/b", 0), start=1):
        in_hand = 1
        highest = max(highest, len(at.requests) - answered + in_hand)
    assert highest == 8
    assert len(at.requests) == -(-len(DATA) // BLOCK)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(silent, id="lost"),
        pytest.param(twice, id="duplicated"),
        pytest.param(changed(id=b"8 others"), id="another correlation id"),
        pytest.param(changed(offset=BLOCK * 5), id="another offset"),
        pytest.param(changed(data=b"short"), id="too short"),
        pytest.param(changed(data=bytes(BLOCK + 1)), id="too long"),
        pytest.param(lambda _q, _r: [b"x"], id="one byte of garbage"),
        pytest.param(
            lambda _q, r: [b"x" * 26, r.encode(), b""], id="unsolicited beside the right one"
        ),
        pytest.param(busy(500), id="busy"),
    ],
)
def test_a_fault_in_every_block_once_does_not_change_the_bytes(fault: Fault) -> None:
    at = channel()
    at.faults.extend([fault, changed()] * 24)
    assert pull(at) == DATA


def test_busy_waits_as_long_as_told() -> None:
    at = channel()
    at.faults.append(busy(40_000))
    begin = at.clock.now
    assert pull(at) == DATA
    assert 40.0 <= at.clock.now - begin < 60.0
    assert len(at.requests) == 1 + -(-len(DATA) // BLOCK)


def test_a_missing_file_is_named_as_such() -> None:
    with pytest.raises(TransferError, match="not in the repository") as caught:
        pull(channel(), "nowhere")
    assert caught.value.code == "transfer.not_found"


def test_a_refused_block_ends_the_transfer() -> None:
    at = channel()
    at.faults.append(changed(status=OUT_OF_RANGE, data=b""))
    with pytest.raises(TransferError) as caught:
        pull(at)
    assert caught.value.code == "transfer.refused"


def test_a_file_that_changes_under_our_hands_ends_the_transfer() -> None:
    at = channel()
    at.faults.extend([changed(), changed(total=len(DATA) + 1)])
    with pytest.raises(TransferError) as caught:
        pull(at)
    assert caught.value.code == "transfer.changed"


def test_everything_open_is_asked_again_after_a_reconnect() -> None:
    at = channel()
    pieces = BlockSource(at, BlockLimits(answer_s=1e6), at.clock).read("a/b", 0)
    got = [next(pieces), next(pieces)]
    at.reconnect()
    assert b"".join([*got, *pieces]) == DATA


def test_an_outage_shorter_than_the_patience_is_survived() -> None:
    at = channel()
    pieces = BlockSource(at, BlockLimits(), at.clock).read("a/b", 0)
    got = [next(pieces)]
    at.is_offline = True
    at.reconnect()
    wait = at.clock.wait

    def back_after_20_s(seconds: float) -> None:
        wait(seconds)
        at.is_offline = at.clock.now < 1020.0

    at.clock.wait = back_after_20_s  # type: ignore[method-assign]
    assert b"".join([*got, *pieces]) == DATA


def _drip(seconds: float, at: BlockChannel) -> Fault:
    def fault(_request: BlockRequest, reply: BlockReply) -> list[bytes]:
        at.clock.wait(seconds)
        return [reply.encode()]

    return fault


@pytest.mark.parametrize(
    ("make", "code"),
    [
        pytest.param(lambda _at: silent, "transfer.slow", id="silence"),
        pytest.param(lambda _at: changed(data=b""), "transfer.slow", id="only wrong blocks"),
        pytest.param(lambda at: _drip(40.0, at), "transfer.slow", id="one block in 40 s"),
        pytest.param(lambda at: _drip(20.0, at), "transfer.deadline", id="fast enough, too long"),
        pytest.param(lambda _at: busy(60_000), "transfer.deadline", id="busy for ever"),
    ],
)
def test_a_road_that_drips_is_given_up(make: Callable[[BlockChannel], Fault], code: str) -> None:
    at = channel()
    at.always = make(at)
    with pytest.raises(TransferError) as caught:
        pull(at, pace=PaceLimits(min_bytes_s=4096.0, window_s=30.0, deadline_s=300.0))
    assert caught.value.code == code
