"""The fleet's side of a device's key rotation: two commands and one change of the registry between them.

asked = begin(registry, "cam-7")     # then sign and send order_prepare(asked)
finish(registry, asked, reply)       # grants are for the new key now; sign and send order_adopt("cam-7")
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from agent.errors import ConfigError, TrustError
from agent.fleet.operators import Order
from agent.fleet.registry import Registry
from agent.schema.messages import Reply
from agent.trust.policy import device_audience
from agent.trust.rotation import Challenge, challenge, check


@dataclass(frozen=True)
class Asked:
    """A challenge to the holder of one device's present key; `finish` needs the same one."""

    device: str
    old_public: bytes
    challenge: Challenge


def begin(registry: Registry, device: str) -> Asked:
    """Return a fresh challenge for a registered device.

    Raises:
        ConfigError: It is not registered, or revoked.
    """
    record = registry.device(device)
    if record is None or record.revoked:
        message = f"device {device}: not registered, or revoked"
        raise ConfigError(message, code="fleet.unknown_device")
    return Asked(device, record.public_key, challenge(record.public_key, device))


def order_prepare(asked: Asked) -> Order:
    """Return the order to make the next key and vouch for it."""
    sealed = base64.b64encode(asked.challenge.sealed).decode()
    return Order("rotate-keys", {"challenge": sealed}, device_audience(asked.device))


def order_adopt(device: str) -> Order:
    """Return the order to put the next key in force."""
    return Order("rotate-keys", {}, device_audience(device))


def finish(registry: Registry, asked: Asked, reply: Reply) -> bytes:
    """Register the new key that the device's reply vouches for, and return it.

    Raises:
        TrustError: The old key does not vouch for it (`trust.rotation`), or it is no key.
        ConfigError: The device is revoked or has another key by now.
    """
    try:
        public, proof = (
            base64.b64decode(reply.data[name], validate=True) for name in ("public_key", "proof")
        )
    except (KeyError, TypeError, binascii.Error) as error:
        message = f"device {asked.device}: its reply holds no new key and proof"
        raise TrustError(message, code="trust.rotation") from error
    check(asked.challenge.secret, public, asked.device, proof)
    registry.rotate_key(asked.device, asked.old_public, public)
    return public
