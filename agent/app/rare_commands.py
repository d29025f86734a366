"""Commands that a device gets seldom and that two people should have thought about.

`force-downgrade`  installs exactly the release that is named, though it is below the rollback floor. The floor
                   itself does not fall: anything else below it is still refused.
`rotate-keys`      with the fleet's challenge: makes the next device key, which the present one vouches for.
                   Without: passes the installed releases on to it and puts it in force.
"""

from __future__ import annotations

import base64

from agent.app.device import Device
from agent.control.commander import Handler
from agent.control.replies import Replier, arguments
from agent.errors import CommandError
from agent.models.rekey import adopt_next_key
from agent.schema.manifest import ReleaseRef
from agent.schema.messages import CommandBody
from agent.schema.update import DowngradeArgs, RotateKeysArgs
from agent.trust.rotation import rotate
from agent.update.installer import Updater
from agent.update.ports import Offer

FORCE_DOWNGRADE, ROTATE_KEYS = "force-downgrade", "rotate-keys"


def rare_handlers(device: Device, updater: Updater) -> dict[str, Handler]:
    """Return what `force-downgrade` and `rotate-keys` do; both wait for no update, they are refused then."""

    def force_downgrade(body: CommandBody, replier: Replier) -> None:
        asked = arguments(body, DowngradeArgs)
        ref = ReleaseRef(path=asked.release, sha256=asked.sha256)
        updater.submit(Offer(ref, body.id, force=True, below_floor=True), replier)

    def rotate_keys(body: CommandBody, replier: Replier) -> None:
        asked = arguments(body, RotateKeysArgs)
        with updater.reserved():
            if asked.challenge:
                found = rotate(device.keys, asked.challenge, device.id)
                replier.succeeded(public_key=_text(found.public_key), proof=_text(found.proof))
            else:
                replier.succeeded(public_key=_text(_adopt(device)))

    return {FORCE_DOWNGRADE: force_downgrade, ROTATE_KEYS: rotate_keys}


def _adopt(device: Device) -> bytes:
    if not device.keys.successor().exists():
        hint = "send the fleet's challenge first, and register the key that comes back"
        raise CommandError("no next device key was made", code="key.no_successor", hint=hint)
    adopt_next_key(device.keys, device.store, device.config.device, device.disk)
    public = device.keys.open().public_bytes
    device.ledger.record("key", "the next device key is in force")
    return public


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
