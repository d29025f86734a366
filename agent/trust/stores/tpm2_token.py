"""A key that only this board's TPM 2.0 can load, as the token helper sees it. Loads tpm2-tss: helper only.

- The key is a child of a primary ECC key that the TPM derives anew from its own seed each time; the child's
  wrapped form lies in a file and is worthless without this TPM.
- `TPM2_ECDH_ZGen` answers inside an encrypted session, so that the secret is not seen on the bus.
- The rollback counter is an NV counter, which no software can lower, also not by making it anew: a new one
  starts above all that ever were. It starts anywhere, so an index beside it says once, and is then locked
  against writing, which floor the start stands for.
"""

from __future__ import annotations

import contextlib
import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from tpm2_pytss import (
    ESAPI,
    ESYS_TR,
    TPM2_ALG,
    TPM2_NT,
    TPM2_SE,
    TPM2B_ECC_POINT,
    TPM2B_NV_PUBLIC,
    TPM2B_PRIVATE,
    TPM2B_PUBLIC,
    TPM2B_SENSITIVE_CREATE,
    TPMA_NV,
    TPMA_OBJECT,
    TPMA_SESSION,
    TPMS_ECC_POINT,
    TPMS_NV_PUBLIC,
    TPMS_SENSITIVE_CREATE,
    TPMT_SYM_DEF,
    TPMU_SYM_KEY_BITS,
    TPMU_SYM_MODE,
    TSS2_Exception,
)

from agent.errors import ConfigError, KeyUnavailableError
from agent.host.disk import REAL_DISK
from agent.schema.keystore import Tpm2KeyConfig
from agent.trust.keys import read_owned
from agent.trust.stores.secret import read_pin

if TYPE_CHECKING:
    from collections.abc import Iterator

SUCCESSOR = ".next"
# At 5 to 50 ms each on a discrete TPM: the floor of one update costs seconds at most.
_MAX_STEPS = 256
_FIELD_BYTES = 32
_HEAD = struct.Struct(">4sHH")
_MAGIC = b"VGT2"
_KEY = TPMA_OBJECT.USERWITHAUTH | TPMA_OBJECT.FIXEDTPM | TPMA_OBJECT.FIXEDPARENT
_KEY |= TPMA_OBJECT.SENSITIVEDATAORIGIN | TPMA_OBJECT.DECRYPT
_NV = TPMA_NV.OWNERREAD | TPMA_NV.OWNERWRITE | TPMA_NV.AUTHREAD | TPMA_NV.AUTHWRITE | TPMA_NV.NO_DA
_COUNTER = _NV | (TPM2_NT.COUNTER << TPMA_NV.TPM2_NT_SHIFT)
_START = _NV | TPMA_NV.WRITEDEFINE

# TPM 2.0 Library, part 2, section 6.6: response codes without the part that names the parameter.
_RC_AUTH_FAIL, _RC_BAD_AUTH, _RC_LOCKOUT, _RC_HANDLE = 0x08E, 0x0A2, 0x921, 0x08B
_RC_NV_UNINITIALIZED = 0x14A
_TCTI_LAYER = 0x000A0000
_LAYER_MASK = 0x00FF0000
_FAULTS = {
    _RC_AUTH_FAIL: ("key.pin_wrong", "correct the PIN file; it is not tried again before"),
    _RC_BAD_AUTH: ("key.pin_wrong", "correct the PIN file; it is not tried again before"),
    _RC_LOCKOUT: ("key.pin_locked", "wait, or reset the lockout with tpm2_dictionarylockout"),
}


class Tpm2Token:
    """One TPM and one key in it; see `agent.trust.token_helper.CountingToken`.

    Raises:
        KeyUnavailableError: `key.token_missing`, `key.pin_wrong`, `key.pin_locked`, `key.missing` or
            `key.unavailable`.
    """

    def __init__(self, config: Tpm2KeyConfig) -> None:
        self._config = config
        self._blob = Path(config.blob)
        self._handle: ESYS_TR | None = None
        self._session: ESYS_TR | None = None
        os.environ.setdefault("TSS2_LOG", "all+NONE")
        with self._faults():
            self._tpm = ESAPI(config.tcti)

    def exists(self) -> bool:
        """Say whether the key's wrapped form is there."""
        return self._blob.exists()

    def create(self) -> bytes:
        """Make a key in the TPM, or find the one that is there."""
        if not self.exists():
            with self._faults(), self._primary() as primary:
                secret = TPMS_SENSITIVE_CREATE(userAuth=self._pin())
                # Without a PIN nothing can be guessed, so a stranger's wrong tries must not lock it.
                flags = _KEY if self._config.pin_file else _KEY | TPMA_OBJECT.NODA
                template = TPM2B_PUBLIC.parse("ecc256:ecdh", objectAttributes=flags)
                sensitive = TPM2B_SENSITIVE_CREATE(secret)
                private, public, *_ = self._tpm.create(primary, sensitive, template)
            REAL_DISK.write_atomic(self._blob, _encode(private.marshal(), public.marshal()))
        return self.public()

    def public(self) -> bytes:
        """Return the public point, 65 bytes."""
        point = self._read()[1].publicArea.unique.ecc
        x, y = (bytes(part).rjust(_FIELD_BYTES, b"\0") for part in (point.x, point.y))
        return b"\x04" + x + y

    def exchange(self, point: bytes) -> bytes:
        """Return the ECDH shared secret, 32 bytes."""
        x, y = point[1 : 1 + _FIELD_BYTES], point[1 + _FIELD_BYTES :]
        with self._faults():
            key, session = self._load()
            self._tpm.tr_set_auth(key, self._pin())
            peer = TPM2B_ECC_POINT(TPMS_ECC_POINT(x=x, y=y))
            secret = self._tpm.ecdh_zgen(key, peer, session1=session)
        return bytes(secret.point.x).rjust(_FIELD_BYTES, b"\0")

    def create_signer(self) -> bytes:
        """Refuse: signers' keys are in PKCS#11 tokens or files."""
        raise ConfigError(f"TPM {self._config.tcti}: has no keys that sign", code="key.other_type")

    def sign(self, digest: bytes) -> bytes:
        """Refuse: see `create_signer`."""
        del digest
        return self.create_signer()

    def promote(self) -> None:
        """Put the successor's wrapped form in the key's place."""
        successor = self._blob.with_name(self._blob.name + SUCCESSOR)
        if successor.exists():
            REAL_DISK.rename(successor, self._blob)

    def read_counter(self) -> int:
        """Return the floor that the counter stands for, 0 before it was ever raised."""
        with self._faults():
            start = self._number(self._index + 1)
            return 0 if start is None else start + (self._number(self._index) or 0)

    def raise_counter(self, value: int) -> int:
        """Raise the counter towards `value`, 256 steps at most; return what it is now."""
        with self._faults():
            start = self._number(self._index + 1)
            if start is None:
                start = self._start(value)
            self._tpm.nv_write_lock(self._tpm.tr_from_tpmpublic(self._index + 1))
            counter = self._tpm.tr_from_tpmpublic(self._index)
            now = start + (self._number(self._index) or 0)
            for _ in range(min(value - now, _MAX_STEPS)):
                self._tpm.nv_increment(counter)
            return start + (self._number(self._index) or 0)

    @property
    def _index(self) -> int:
        if self._config.floor_index is None:
            raise ConfigError("TPM: no `key.floor_index` is configured", code="key.no_counter")
        return self._config.floor_index

    def _start(self, floor: int) -> int:
        """Make the counter, and the index that says which floor its start stands for; return that."""
        counter = self._find(self._index) or self._define(self._index, _COUNTER)
        self._tpm.nv_increment(counter)
        start = floor - (self._number(self._index) or 0)
        index = self._find(self._index + 1) or self._define(self._index + 1, _START)
        self._tpm.nv_write(index, start.to_bytes(8, "big", signed=True))
        return start

    def _number(self, index: int) -> int | None:
        """Return what an index holds; None where it is not made or not written yet."""
        handle = self._find(index)
        try:
            data = None if handle is None else bytes(self._tpm.nv_read(handle, 8))
        except TSS2_Exception as error:
            if error.error == _RC_NV_UNINITIALIZED:
                return None
            raise
        return None if data is None else int.from_bytes(data, "big", signed=True)

    def _find(self, index: int) -> ESYS_TR | None:
        try:
            return self._tpm.tr_from_tpmpublic(index)
        except TSS2_Exception as error:
            if error.error == _RC_HANDLE:
                return None
            raise

    def _define(self, index: int, attributes: int) -> ESYS_TR:
        area = TPMS_NV_PUBLIC(
            nvIndex=index, nameAlg=TPM2_ALG.SHA256, attributes=attributes, dataSize=8
        )
        return self._tpm.nv_define_space(None, TPM2B_NV_PUBLIC(area))

    def _load(self) -> tuple[ESYS_TR, ESYS_TR]:
        """Load the key once, with a session that encrypts what the TPM answers."""
        if self._handle is None or self._session is None:
            private, public = self._read()
            with self._primary() as primary:
                self._handle = self._tpm.load(primary, private, public)
                self._session = self._tpm.start_auth_session(
                    primary, ESYS_TR.NONE, TPM2_SE.HMAC, _AES_128_CFB, TPM2_ALG.SHA256
                )
            flags = TPMA_SESSION.CONTINUESESSION | TPMA_SESSION.ENCRYPT | TPMA_SESSION.DECRYPT
            self._tpm.trsess_set_attributes(self._session, flags)
        return self._handle, self._session

    @contextlib.contextmanager
    def _primary(self) -> Iterator[ESYS_TR]:
        handle = self._tpm.create_primary(TPM2B_SENSITIVE_CREATE(), "ecc256:aes128cfb")[0]
        try:
            yield handle
        finally:
            self._tpm.flush_context(handle)

    def _read(self) -> tuple[TPM2B_PRIVATE, TPM2B_PUBLIC]:
        if not self.exists():
            message = f"{self._blob}: no such key"
            raise KeyUnavailableError(message, code="key.missing", hint="enrol this device")
        try:
            private, public = _decode(read_owned(self._blob))
            return TPM2B_PRIVATE.unmarshal(private)[0], TPM2B_PUBLIC.unmarshal(public)[0]
        except (struct.error, ValueError, TSS2_Exception) as error:
            message = f"{self._blob}: expected a key wrapped by a TPM, found something else"
            raise ConfigError(message, code="key.malformed", hint="restore it, or enrol") from error

    def _pin(self) -> bytes:
        return read_pin(self._config.pin_file).encode() if self._config.pin_file else b""

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except TSS2_Exception as error:
            lost = ("key.token_missing", "check the TPM and that this user may open it")
            is_lost = error.rc & _LAYER_MASK == _TCTI_LAYER
            code, hint = lost if is_lost else _FAULTS.get(error.error, ("key.unavailable", ""))
            message = f"TPM {self._config.tcti}: {error} ({error.rc:#x})"
            raise KeyUnavailableError(message, code=code, hint=hint) from error


_AES_128_CFB = TPMT_SYM_DEF(
    algorithm=TPM2_ALG.AES,
    keyBits=TPMU_SYM_KEY_BITS(aes=128),
    mode=TPMU_SYM_MODE(aes=TPM2_ALG.CFB),
)


def _encode(private: bytes, public: bytes) -> bytes:
    return _HEAD.pack(_MAGIC, len(private), len(public)) + private + public


def _decode(data: bytes) -> tuple[bytes, bytes]:
    magic, private, public = _HEAD.unpack_from(data)
    rest = data[_HEAD.size :]
    if magic != _MAGIC or len(rest) != private + public:
        raise ValueError("not a wrapped key")
    return rest[:private], rest[private:]
