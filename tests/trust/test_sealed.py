"""The sealed container: what was sealed comes back, and nothing else ever does."""

from __future__ import annotations

import hashlib
import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import TrustError
from agent.host.memfd import read_memfd
from agent.trust.sealed import (
    CHUNK_BYTES,
    HEADER_BYTES,
    TAG_BYTES,
    Buffer,
    Cipher,
    open_sealed,
    seal,
)

if TYPE_CHECKING:
    from collections.abc import Callable

DEK = bytes(range(32))
RELEASE = "shop/yolo/1.2"
STRIDE = CHUNK_BYTES + TAG_BYTES
THREE_CHUNKS = os.urandom(2 * CHUNK_BYTES + 100)
SEALED = seal(THREE_CHUNKS, DEK, RELEASE)
SMALL = seal(b"golden", DEK, RELEASE)


def opened(blob: Buffer, dek: bytes = DEK, release: str = RELEASE) -> bytes:
    """Open a container, return its content and close it."""
    fd = open_sealed(blob, dek, release)
    try:
        with read_memfd(fd) as view:
            return bytes(view)
    finally:
        os.close(fd)


def refused(blob: bytes, dek: bytes = DEK, release: str = RELEASE) -> str:
    """Open a container that must be refused; return the code and check that nothing stays open."""
    before = descriptors()
    with pytest.raises(TrustError) as caught:
        open_sealed(blob, dek, release)
    assert descriptors() <= before  # what an earlier test left to the collector may close meanwhile
    return caught.value.code


def descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def chunk(blob: bytes, index: int) -> bytes:
    return blob[HEADER_BYTES + index * STRIDE : HEADER_BYTES + (index + 1) * STRIDE]


def header(blob: bytes) -> bytes:
    return blob[:HEADER_BYTES]


@pytest.mark.parametrize("cipher", Cipher)
@pytest.mark.parametrize("size", [1, 100, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1])
def test_what_is_sealed_comes_back(cipher: Cipher, size: int) -> None:
    plaintext = os.urandom(size)
    blob = seal(plaintext, DEK, RELEASE, cipher)
    assert opened(blob) == plaintext
    assert plaintext[:16] not in blob or size < 16
    assert len(blob) == HEADER_BYTES + size + -(-size // CHUNK_BYTES) * TAG_BYTES


def test_any_buffer_is_opened() -> None:
    assert opened(bytearray(SMALL)) == opened(memoryview(SMALL)) == b"golden"


def test_the_memory_handed_out_is_sealed() -> None:
    fd = open_sealed(SMALL, DEK, RELEASE)
    with pytest.raises(PermissionError):
        os.write(fd, b"x")
    os.close(fd)


def test_equal_content_is_sealed_differently_each_time() -> None:
    assert seal(b"same", DEK, RELEASE) != seal(b"same", DEK, RELEASE)


def test_a_given_salt_reproduces_the_container() -> None:
    salt = b"s" * 32
    assert seal(b"same", DEK, RELEASE, salt=salt) == seal(b"same", DEK, RELEASE, salt=salt)


def test_the_layout_is_the_one_that_is_written_down() -> None:
    magic, version, cipher, size, length = struct.unpack(">6sBBIQ", SEALED[:20])
    assert (magic, version, cipher, size, length) == (b"VGSEAL", 1, 1, 2**20, len(THREE_CHUNKS))
    salt, commitment, release = SEALED[20:52], SEALED[52:84], SEALED[84:HEADER_BYTES]
    assert release == RELEASE.encode().ljust(192, b"\0")
    stream = HKDF(SHA256(), 71, salt, b"vigil/sealed/1\x01").derive(DEK)
    assert commitment == stream[32:64]
    associated = hashlib.sha256(header(SEALED)).digest()
    plain = b"".join(
        AESGCM(stream[:32]).decrypt(
            stream[64:] + struct.pack(">IB", index, index == 2), chunk(SEALED, index), associated
        )
        for index in range(3)
    )
    assert plain == THREE_CHUNKS


def test_a_wrong_key_is_named_as_such() -> None:
    assert refused(SEALED, dek=bytes(32)) == "trust.wrong_key"


@pytest.mark.parametrize("other", ["shop/yolo/1.3", "shop/yolo/1.2x", "x", "s" * 500, ""])
def test_another_release_is_named_as_such(other: str) -> None:
    assert refused(SEALED, release=other) == "trust.other_release"


TAMPERED: dict[str, Callable[[bytes], bytes]] = {
    "chunks swapped": lambda b: header(b) + chunk(b, 1) + chunk(b, 0) + chunk(b, 2),
    "chunk repeated": lambda b: header(b) + chunk(b, 0) + chunk(b, 0) + chunk(b, 2),
    "byte changed": lambda b: b[:-1] + bytes([b[-1] ^ 1]),
    "first byte changed": lambda b: (
        header(b) + bytes([b[HEADER_BYTES] ^ 1]) + b[HEADER_BYTES + 1 :]
    ),
    "chunk of another file": lambda b: (
        header(b) + chunk(seal(THREE_CHUNKS, DEK, RELEASE), 0) + chunk(b, 1) + chunk(b, 2)
    ),
    "header of another file": lambda b: header(seal(THREE_CHUNKS, DEK, RELEASE)) + b[HEADER_BYTES:],
}
MISSHAPEN: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "header alone": header,
    "half a header": lambda b: b[: HEADER_BYTES // 2],
    "last chunk dropped": lambda b: header(b) + chunk(b, 0) + chunk(b, 1),
    "first chunk dropped": lambda b: header(b) + chunk(b, 1) + chunk(b, 2),
    "byte dropped": lambda b: b[:-1],
    "byte appended": lambda b: b + b"\0",
    "other magic": lambda b: b"X" + b[1:],
    "length of zero": lambda b: with_length(b, 0),
    "length beyond the file": lambda b: with_length(b, 2**62),
    "negative length": lambda b: with_length(b, 2**64 - 1),
    "shorter length, last chunk dropped": lambda b: with_length(b, 2 * CHUNK_BYTES + 1),
    "unknown version": lambda b: b[:6] + b"\2" + b[7:],
    "unknown cipher": lambda b: b[:7] + b"\7" + b[8:],
    "other chunk size": lambda b: b[:8] + struct.pack(">I", 2**31) + b[12:],
}


def with_length(blob: bytes, length: int) -> bytes:
    return blob[:12] + struct.pack(">Q", length) + blob[20:]


@pytest.mark.parametrize("change", TAMPERED.values(), ids=TAMPERED)
def test_a_changed_container_gives_nothing(change: Callable[[bytes], bytes]) -> None:
    assert refused(change(SEALED)) == "trust.tampered"


@pytest.mark.parametrize("change", MISSHAPEN.values(), ids=MISSHAPEN)
def test_lengths_and_layout_are_checked_before_anything(change: Callable[[bytes], bytes]) -> None:
    assert refused(change(SEALED)) == "trust.malformed"


def test_dropping_the_last_chunk_with_a_matching_length_is_noticed() -> None:
    shorter = with_length(header(SEALED) + chunk(SEALED, 0) + chunk(SEALED, 1), 2 * CHUNK_BYTES)
    assert refused(shorter) == "trust.tampered"


def test_the_other_cipher_in_the_header_is_noticed() -> None:
    assert refused(SMALL[:7] + b"\2" + SMALL[8:]) == "trust.wrong_key"


@pytest.mark.parametrize("place", range(HEADER_BYTES))
def test_no_byte_of_the_header_can_be_changed(place: int) -> None:
    changed = bytearray(SMALL)
    changed[place] ^= 0x01
    assert refused(bytes(changed)).startswith("trust.")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=2000))
def test_any_bytes_give_a_trust_error_and_nothing_else(data: bytes) -> None:
    assert refused(data) == "trust.malformed"


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(SMALL) - 1), st.integers(0, 255)), min_size=1))
def test_any_change_gives_the_same_content_or_a_trust_error(changes: list[tuple[int, int]]) -> None:
    blob = bytearray(SMALL)
    for place, value in changes:
        blob[place] = value
    if bytes(blob) == SMALL:
        assert opened(bytes(blob)) == b"golden"
    else:
        assert refused(bytes(blob)).startswith("trust.")


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=24), st.binary(max_size=400))
def test_any_header_fields_behind_the_magic_are_survived(fields: bytes, rest: bytes) -> None:
    assert refused(b"VGSEAL" + fields + rest).startswith("trust.")


@settings(max_examples=50, deadline=None)
@given(st.binary(min_size=1, max_size=5000), st.sampled_from(Cipher))
def test_any_content_survives_the_round_trip(plaintext: bytes, cipher: Cipher) -> None:
    assert opened(seal(plaintext, DEK, RELEASE, cipher)) == plaintext


@pytest.mark.parametrize(
    ("plaintext", "dek", "release"),
    [(b"", DEK, "a"), (b"x", b"short", "a"), (b"x", DEK, "a" * 193)],
)
def test_a_programmer_who_seals_wrongly_is_told(plaintext: bytes, dek: bytes, release: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        seal(plaintext, dek, release)
