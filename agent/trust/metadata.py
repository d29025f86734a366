"""Checks on TUF metadata and policies that their libraries leave out.

One public key listed under two key ids satisfies a threshold of two, in python-tuf as in securesystemslib.
Keys are therefore compared by their DER SubjectPublicKeyInfo, whatever their id, scheme or spelling.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from tuf.api.metadata import Root, Targets

from agent.errors import TrustError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
    from securesystemslib.signer import Key


def refuse_repeated_keys(signed: Root | Targets) -> None:
    """Refuse metadata that lists one public key under two key ids.

    Raises:
        TrustError: `trust.repeated_key`, or `trust.malformed` for a key that cannot be read.
    """
    if isinstance(signed, Root):
        keys: Mapping[str, Key] = signed.keys
    else:
        keys = signed.delegations.keys if signed.delegations else {}
    refuse_repeated(keys.values(), signed.type)


def refuse_repeated(keys: Iterable[Key], source: str) -> None:
    """Refuse `keys` of which two are the same public key; `source` names them in the error.

    Raises:
        TrustError: `trust.repeated_key`, or `trust.malformed` for a key that cannot be read.
    """
    owners: dict[bytes, str] = {}
    for key in keys:
        public = _public_der(key, source)
        if public in owners:
            names = f"{owners[public][:16]!r} and {key.keyid[:16]!r}"
            message = f"{source}: keys {names} are one and the same"
            raise TrustError(message, code="trust.repeated_key")
        owners[public] = key.keyid


def _load_public(keytype: str, text: str) -> PublicKeyTypes:
    if keytype == "ed25519":
        return Ed25519PublicKey.from_public_bytes(bytes.fromhex(text))
    return serialization.load_pem_public_key(text.encode())


def _public_der(key: Key, source: str) -> bytes:
    try:
        text = key.keyval["public"]
        return _load_public(key.keytype, text).public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    except (KeyError, ValueError, AttributeError, UnsupportedAlgorithm) as error:
        message = f"{source}: key {key.keyid[:16]!r} cannot be read"
        raise TrustError(message, code="trust.malformed") from error
