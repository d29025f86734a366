"""The block server against hostile and honest requests."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.fleet.blocks import RETRY_AFTER_MS, Admission, BlockServer, busy
from agent.schema import blocks

ID = "0011223344556677"


def block_request(**fields: Any) -> bytes:
    return json.dumps(
        {"id": ID, "p": "targets/models/big.bin", "o": 0, "l": 1024} | fields
    ).encode()


def test_a_block_is_the_file_at_its_offset(fleet: Any) -> None:
    reply = BlockServer(fleet.public).answer("cam-1", block_request(o=1000, l=4096))
    whole = (fleet.public / "targets/models/big.bin").read_bytes()
    assert (reply.status, reply.offset, reply.total) == (blocks.OK, 1000, len(whole))
    assert reply.id == bytes.fromhex(ID)
    assert reply.data == whole[1000:5096]


def test_the_last_block_is_as_short_as_the_file(fleet: Any) -> None:
    whole = (fleet.public / "targets/models/big.bin").read_bytes()
    reply = BlockServer(fleet.public).answer("cam-1", block_request(o=len(whole) - 3))
    assert (reply.status, reply.data) == (blocks.OK, whole[-3:])


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"p": "../fleet.db"}, blocks.NOT_FOUND),
        ({"p": "targets/../../fleet.db"}, blocks.NOT_FOUND),
        ({"p": "/etc/passwd"}, blocks.NOT_FOUND),
        ({"p": "targets/models/big.bin\0.txt"}, blocks.NOT_FOUND),
        ({"p": "a" * 3000}, blocks.NOT_FOUND),
        ({"p": ""}, blocks.NOT_FOUND),
        ({"p": "targets"}, blocks.NOT_FOUND),
        ({"p": "targets/link"}, blocks.NOT_FOUND),
        ({"p": "targets/pipe"}, blocks.NOT_FOUND),
        ({"p": "nothing"}, blocks.NOT_FOUND),
        ({"o": 1536 * 1024}, blocks.OUT_OF_RANGE),
        ({"o": 2**53}, blocks.OUT_OF_RANGE),
        ({"o": -1}, blocks.BAD_REQUEST),
        ({"o": 2**64}, blocks.BAD_REQUEST),
        ({"o": 1.5}, blocks.BAD_REQUEST),
        ({"o": "0"}, blocks.BAD_REQUEST),
        ({"l": 0}, blocks.BAD_REQUEST),
        ({"l": -5}, blocks.BAD_REQUEST),
        ({"l": 256 * 1024 + 1}, blocks.BAD_REQUEST),
        ({"l": True}, blocks.BAD_REQUEST),
        ({"id": "xyz"}, blocks.BAD_REQUEST),
        ({"id": "00" * 9}, blocks.BAD_REQUEST),
        ({"id": 7}, blocks.BAD_REQUEST),
        ({"p": ["a"]}, blocks.BAD_REQUEST),
        ({"extra": 1}, blocks.BAD_REQUEST),
        ({"p": "a" * 5000}, blocks.BAD_REQUEST),
    ],
)
def test_hostile_block_requests_get_a_status_and_no_bytes(
    fleet: Any, fields: dict[str, Any], status: int
) -> None:
    (fleet.public / "targets/link").symlink_to(fleet.folder / "fleet.db")
    os.mkfifo(fleet.public / "targets/pipe")
    reply = BlockServer(fleet.public).answer("cam-1", block_request(**fields))
    assert (reply.status, reply.data) == (status, b"")


@given(st.binary(max_size=200))
def test_any_bytes_get_an_answer_without_data(payload: bytes) -> None:
    assert BlockServer(Path("/nonexistent")).answer("cam-1", payload).data == b""


def test_more_devices_than_places_are_told_to_come_back(fleet: Any) -> None:
    now = [0]
    server = BlockServer(fleet.public, devices=2, clock=lambda: now[0])
    statuses = [server.answer(f"cam-{n}", block_request()).status for n in (1, 2, 3, 1)]
    assert statuses == [blocks.OK, blocks.OK, blocks.BUSY, blocks.OK]
    assert server.answer("cam-3", block_request()).total == RETRY_AFTER_MS
    now[0] += 11_000_000_000
    assert server.answer("cam-3", block_request()).status == blocks.OK


def test_a_device_keeps_its_place_while_it_transfers() -> None:
    now = [0]
    admission = Admission(1, lambda: now[0])
    for _ in range(5):
        assert admission.admit("cam-1")
        now[0] += 9_000_000_000
        assert not admission.admit("cam-2")


def test_what_waits_too_long_is_told_to_come_back() -> None:
    later = busy(block_request())
    assert (later.id.hex(), later.status, later.total) == (ID, blocks.BUSY, RETRY_AFTER_MS)
    assert busy(b"?").data == b""
