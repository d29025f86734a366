"""The sealed container: weights encrypted at rest, opened only into sealed memory.

Layout (big-endian): header, then chunks of 1 MiB plaintext, each followed by its 16-byte tag.

    magic 6 | version 1 | cipher 1 | chunk bytes 4 | plaintext bytes 8 | salt 32 | commitment 32 | release 192

Rules
- key, commitment and nonce prefix (7 bytes) = HKDF-SHA256(DEK, salt, label and cipher id);
  nonce = prefix, chunk counter (u32), final flag (u8): a chunk opens only in its place of its file.
- Every chunk authenticates sha256(header) as associated data.
- Every length is checked against the container's own size before anything is allocated.
- The commitment tells a wrong DEK from a changed file, and one file from having two keys.
- A chunk goes to the memfd only when it is authentic. On any failure the memory is closed: no partial plaintext is
  ever handed out.

Construction after STREAM (Hoang, Reyhanitabar, Rogaway, Vizár 2015) and Tink's streaming AEAD.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import mmap
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from agent.errors import TrustError
from agent.host.memfd import create_memfd, seal_memfd, write_memfd

if TYPE_CHECKING:
    from collections.abc import Iterator

Buffer = bytes | bytearray | memoryview | mmap.mmap

CHUNK_BYTES = 2**20
TAG_BYTES = 16
SALT_BYTES = 32
MAX_PLAINTEXT_BYTES = 2**36
_MAGIC = b"VGSEAL"
_VERSION = 1
_RELEASE_BYTES = 192
_HEADER = struct.Struct(f">6sBBIQ32s32s{_RELEASE_BYTES}s")
HEADER_BYTES = _HEADER.size


class Cipher(enum.IntEnum):
    """Authenticated ciphers; ChaCha20-Poly1305 is for CPUs without AES instructions."""

    AES_256_GCM = 1
    CHACHA20_POLY1305 = 2


_AEADS: dict[Cipher, type[AESGCM | ChaCha20Poly1305]] = {
    Cipher.AES_256_GCM: AESGCM,
    Cipher.CHACHA20_POLY1305: ChaCha20Poly1305,
}


@dataclass(frozen=True)
class _Header:
    cipher: Cipher
    length: int
    salt: bytes
    commitment: bytes
    release: bytes

    def encode(self) -> bytes:
        fixed = (_MAGIC, _VERSION, self.cipher, CHUNK_BYTES, self.length)
        return _HEADER.pack(*fixed, self.salt, self.commitment, self.release)


@dataclass(frozen=True)
class _Keys:
    key: bytes
    commitment: bytes
    nonce_prefix: bytes


@dataclass(frozen=True)
class _Chunk:
    """One chunk: its nonce suffix, where its plaintext lies and where its ciphertext and tag lie."""

    suffix: bytes
    plain: slice
    sealed: slice


def seal(
    plaintext: bytes,
    dek: bytes,
    release_id: str,
    cipher: Cipher = Cipher.AES_256_GCM,
    salt: bytes | None = None,
) -> bytes:
    """Return `plaintext` (at least one byte) sealed with the 32-byte `dek` for `release_id`.

    `salt` (32 bytes) is drawn at random; give one only to reproduce a container with the same content.
    """
    if not 0 < len(plaintext) <= MAX_PLAINTEXT_BYTES:
        raise ValueError(
            f"expected 1 to {MAX_PLAINTEXT_BYTES} bytes to seal, found {len(plaintext)}"
        )
    salt = os.urandom(SALT_BYTES) if salt is None else salt
    keys = _derive(dek, salt, cipher)
    release = _release_field(release_id)
    header = _Header(cipher, len(plaintext), salt, keys.commitment, release).encode()
    result = bytearray(header) + bytearray(_sealed_bytes(len(plaintext)) - len(header))
    aead, associated = _AEADS[cipher](keys.key), hashlib.sha256(header).digest()
    with memoryview(plaintext) as source, memoryview(result) as target:
        for chunk in _chunks(len(plaintext)):
            nonce = keys.nonce_prefix + chunk.suffix
            aead.encrypt_into(nonce, source[chunk.plain], associated, target[chunk.sealed])
    return bytes(result)


def open_sealed(blob: Buffer, dek: bytes, release_id: str) -> int:
    """Open a container into a sealed memfd and return its descriptor, which the caller closes.

    Raises:
        TrustError: `trust.malformed` (not a container, or lengths that lie), `trust.other_release`,
            `trust.wrong_key` or `trust.tampered`.
        StorageError: There is not enough memory.
    """
    with memoryview(blob) as source:
        raw = bytes(source[:HEADER_BYTES])
        header = _decode(raw, len(source))
        if header.release.rstrip(b"\0") != release_id.encode():
            raise _refused(
                "other_release",
                f"expected release {release_id!r}, found {_name(header)!r}",
            )
        keys = _derive(dek, header.salt, header.cipher)
        if not hmac.compare_digest(header.commitment, keys.commitment):
            raise _refused("wrong_key", f"sealed with another key than that of {release_id!r}")
        return _open_chunks(source, header, keys, hashlib.sha256(raw).digest())


def _open_chunks(source: memoryview, header: _Header, keys: _Keys, associated: bytes) -> int:
    fd = create_memfd("vigil-sealed", header.length)
    try:
        _decrypt(source, fd, header, keys, associated)
        seal_memfd(fd)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _decrypt(source: memoryview, fd: int, header: _Header, keys: _Keys, associated: bytes) -> None:
    aead = _AEADS[header.cipher](keys.key)
    # One warm buffer for all chunks: decrypting into fresh pages costs more than copying out of this one.
    plain = bytearray(min(CHUNK_BYTES, header.length))
    try:
        with memoryview(plain) as buffer:
            for index, chunk in enumerate(_chunks(header.length)):
                nonce = keys.nonce_prefix + chunk.suffix
                length = chunk.plain.stop - chunk.plain.start
                with source[chunk.sealed] as sealed, buffer[:length] as part:
                    try:
                        aead.decrypt_into(nonce, sealed, associated, part)
                    except InvalidTag:
                        raise _refused("tampered", f"chunk {index} fails authentication") from None
                    write_memfd(fd, part, chunk.plain.start)
    finally:
        plain[:] = bytes(len(plain))


def _decode(raw: bytes, blob_bytes: int) -> _Header:
    if len(raw) < HEADER_BYTES:
        raise _refused("malformed", f"expected at least {HEADER_BYTES} bytes, found {len(raw)}")
    magic, version, cipher, chunk, length, salt, commitment, release = _HEADER.unpack(raw)
    if (magic, version, chunk) != (_MAGIC, _VERSION, CHUNK_BYTES):
        raise _refused("malformed", "not a sealed container of version 1")
    if cipher not in _AEADS:
        raise _refused("malformed", f"expected cipher 1 or 2, found {cipher}")
    if not 0 < length <= MAX_PLAINTEXT_BYTES or _sealed_bytes(length) != blob_bytes:
        raise _refused("malformed", f"{blob_bytes} bytes do not hold {length} bytes of plaintext")
    return _Header(Cipher(cipher), length, salt, commitment, release)


def _derive(dek: bytes, salt: bytes, cipher: Cipher) -> _Keys:
    if (len(dek), len(salt)) != (32, SALT_BYTES):
        raise ValueError(f"expected 32 bytes of DEK and salt, found {len(dek)} and {len(salt)}")
    info = b"vigil/sealed/1" + bytes([cipher])
    stream = HKDF(hashes.SHA256(), 71, salt, info).derive(dek)
    return _Keys(stream[:32], stream[32:64], stream[64:])


def _chunks(length: int) -> Iterator[_Chunk]:
    count = _chunk_count(length)
    for index in range(count):
        start, stop = index * CHUNK_BYTES, min((index + 1) * CHUNK_BYTES, length)
        offset = HEADER_BYTES + index * TAG_BYTES
        sealed = slice(offset + start, offset + stop + TAG_BYTES)
        yield _Chunk(struct.pack(">IB", index, index == count - 1), slice(start, stop), sealed)


def _chunk_count(length: int) -> int:
    return -(-length // CHUNK_BYTES)


def _sealed_bytes(length: int) -> int:
    return HEADER_BYTES + length + _chunk_count(length) * TAG_BYTES


def _release_field(release_id: str) -> bytes:
    data = release_id.encode()
    if not data or len(data) > _RELEASE_BYTES or b"\0" in data:
        raise ValueError(f"expected a release id of 1 to {_RELEASE_BYTES} bytes, found {len(data)}")
    return data.ljust(_RELEASE_BYTES, b"\0")


def _name(header: _Header) -> str:
    return header.release.rstrip(b"\0").decode("ascii", errors="replace")


def _refused(code: str, problem: str) -> TrustError:
    return TrustError(f"sealed container: {problem}", code=f"trust.{code}")
