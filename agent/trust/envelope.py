"""Signed envelopes: DSSE (Dead Simple Signing Envelope, v1) with every signature checked.

securesystemslib's own `Envelope.verify` stops at its threshold; here every signature in the envelope must
verify under a known key, and all their key ids are returned, so that the caller can count people.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Key, Signature, Signer

from agent.errors import TrustError
from agent.schema.document import trusted_json
from agent.schema.messages import COMMAND_MAX_BYTES
from agent.schema.values import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class _WireSignature(Struct):
    keyid: str
    sig: bytes


class _WireEnvelope(Struct):
    payload: bytes
    payloadType: str  # noqa: N815 - name fixed by DSSE
    signatures: list[_WireSignature]


def sign_envelope(body: bytes, payload_type: str, signers: Sequence[Signer]) -> bytes:
    """Return a DSSE envelope of `body` as compact JSON, signed by every signer."""
    envelope = Envelope(body, payload_type, {})
    for signer in signers:
        envelope.sign(signer)
    return _encode(envelope)


def add_signature(data: bytes, payload_type: str, signer: Signer) -> bytes:
    """Return the envelope `data` with one more signature, for a second person who approves it.

    Raises:
        TrustError: `data` is not an envelope of this payload type.
    """
    envelope = _parse(data, payload_type, COMMAND_MAX_BYTES)
    envelope.sign(signer)
    return _encode(envelope)


def open_envelope(
    data: bytes,
    payload_type: str,
    keys: Mapping[str, Key],
    limit: int = COMMAND_MAX_BYTES,
) -> tuple[bytes, frozenset[str]]:
    """Return the payload and the ids of all keys that signed it.

    Args:
        data: The envelope as received.
        payload_type: The only type that is accepted.
        keys: Known public keys by key id; the caller has made sure that none appears twice.
        limit: Greatest size of `data`, bytes.

    Raises:
        TrustError: `trust.too_large`, `trust.malformed`, `trust.wrong_type`, `trust.unsigned`,
            `trust.unknown_key` or `trust.bad_signature`.
    """
    envelope = _parse(data, payload_type, limit)
    if not envelope.signatures:
        raise TrustError("envelope: expected signatures, found none", code="trust.unsigned")
    message = envelope.pae()
    for keyid, signature in envelope.signatures.items():
        _verify(signature, message, keys.get(keyid))
    return envelope.payload, frozenset(envelope.signatures)


def _parse(data: bytes, payload_type: str, limit: int) -> Envelope:
    if len(data) > limit:
        message = f"envelope: expected at most {limit} bytes, found {len(data)}"
        raise TrustError(message, code="trust.too_large")
    wire = trusted_json(data, _WireEnvelope, "envelope")
    if wire.payloadType != payload_type:
        message = f"envelope: expected type {payload_type!r}, found {wire.payloadType[:80]!r}"
        raise TrustError(message, code="trust.wrong_type")
    signatures = {item.keyid: Signature(item.keyid, item.sig.hex()) for item in wire.signatures}
    if len(signatures) != len(wire.signatures):
        raise TrustError("envelope: one key id signs twice", code="trust.malformed")
    return Envelope(wire.payload, wire.payloadType, signatures)


def _verify(signature: Signature, message: bytes, key: Key | None) -> None:
    shown = repr(signature.keyid[:16])
    if key is None:
        hint = "the device may not have seen the newest policy yet"
        raise TrustError(f"envelope: unknown key {shown}", code="trust.unknown_key", hint=hint)
    try:
        key.verify_signature(signature, message)
    except UnverifiedSignatureError as error:
        message_text = f"envelope: the signature of key {shown} does not verify"
        raise TrustError(message_text, code="trust.bad_signature") from error


def _encode(envelope: Envelope) -> bytes:
    signatures = [
        {"keyid": keyid, "sig": _base64(bytes.fromhex(signature.signature))}
        for keyid, signature in envelope.signatures.items()
    ]
    wire = {
        "payload": _base64(envelope.payload),
        "payloadType": envelope.payload_type,
        "signatures": signatures,
    }
    return json.dumps(wire, separators=(",", ":")).encode()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
