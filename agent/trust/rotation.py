"""A new device key, vouched for by the old one.

A device key only agrees on secrets, so it vouches by opening one: the fleet wraps a secret to the key it
knows, and the device answers with an HMAC under that secret over its new public key. Works for every kind of
key and store. Installed releases go on: their grants are wrapped anew on the device.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import struct
from dataclasses import dataclass

from agent.errors import TrustError
from agent.trust.grant import DEK_BYTES, check_public, unwrap, wrap
from agent.trust.hybrid import AnyDeviceKey
from agent.trust.stores import KeyStore

# No release can bear this name (three parts), so that a challenge never passes for a grant.
_PURPOSE = "rotate-key"
_LABEL = b"vigil/rotate/1"


@dataclass(frozen=True)
class Rotation:
    """What a device answers: its next public key, and the proof that the present one wants it."""

    public_key: bytes
    proof: bytes


@dataclass(frozen=True)
class Challenge:
    """What the fleet keeps (`secret`, 32 bytes) and what it sends (`sealed`)."""

    secret: bytes
    sealed: bytes


def challenge(old_public: bytes, device: str) -> Challenge:
    """Return a fresh challenge to the holder of a device's present key (the fleet's side).

    Raises:
        TrustError: `old_public` is no public key.
    """
    secret = os.urandom(DEK_BYTES)
    return Challenge(secret, wrap(secret, old_public, _PURPOSE, "", device))


def answer(sealed: bytes, old: AnyDeviceKey, new_public: bytes, device: str) -> bytes:
    """Return the proof, 32 bytes, that the old key's holder wants `new_public` (the device's side).

    Raises:
        TrustError: The challenge is not for this key and device.
        KeyUnavailableError: The old key cannot be used now.
    """
    return _proof(unwrap(sealed, old, _PURPOSE, "", device), new_public, device)


def rotate(store: KeyStore, sealed: bytes, device: str) -> Rotation:
    """Make the key that is to follow the one in `store` and vouch for it; may be repeated.

    The present key stays in force until `agent.models.rekey.adopt_next_key`.

    Raises:
        TrustError: The challenge is not for this key and device.
        KeyUnavailableError: The store cannot be used now.
        StorageError: The next key cannot be written.
    """
    old = store.open()
    unwrap(sealed, old, _PURPOSE, "", device)  # before a key is made for a stranger
    new_public = store.successor().create().public_bytes
    return Rotation(new_public, answer(sealed, old, new_public, device))


def spare_key(store: KeyStore) -> AnyDeviceKey | None:
    """Return the other key that a grant may be for: the next one, or the one that has just taken its place."""
    successor = store.successor()
    return successor.open() if successor.exists() else store.open()


def check(secret: bytes, new_public: bytes, device: str, proof: bytes) -> None:
    """Refuse a new key that the old one does not vouch for (the fleet's side).

    Raises:
        TrustError: `trust.rotation`, or `new_public` is no public key (`trust.bad_point`).
    """
    check_public(new_public)
    if not hmac.compare_digest(_proof(secret, new_public, device), proof):
        message = f"device {device}: its old key does not vouch for the new one"
        raise TrustError(message, code="trust.rotation", hint="ask it again, or enrol it anew")


def rewrap(
    grant: bytes, old: AnyDeviceKey, new_public: bytes, place: tuple[str, str, str]
) -> bytes:
    """Return the grant of an installed release (`place`: release, class, device) for the new key.

    Raises:
        TrustError: The grant is not for the old key.
        KeyUnavailableError: The old key cannot be used now.
    """
    return wrap(unwrap(grant, old, *place), new_public, *place)


def _proof(secret: bytes, new_public: bytes, device: str) -> bytes:
    name = device.encode()
    message = _LABEL + struct.pack(">H", len(name)) + name + new_public
    return hmac.new(secret, message, hashlib.sha256).digest()
