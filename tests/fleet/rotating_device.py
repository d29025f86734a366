"""A device that changes its key as it is told, with its real key store behind a plain MQTT client."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from agent.fleet.operators import command_body, read_command
from agent.schema.keystore import FileKeyConfig
from agent.trust.rotation import rotate
from agent.trust.stores.file import FileStore

if TYPE_CHECKING:
    from agent.schema.keystore import KeyConfig
    from tests.fleet.mqtt_device import Device


def rotate_when_told(device: Device, key: KeyConfig, made: list[bytes]) -> None:
    """Answer both halves of a rotation; the new public key is appended to `made`."""
    assert isinstance(key, FileKeyConfig)
    for _ in range(2):
        command = read_command(device.get()[1])
        challenge = command_body(command.envelope).args.get("challenge", "")
        data = {}
        if challenge:
            rotation = rotate(FileStore(key), base64.b64decode(challenge), "cam-1")
            made.append(rotation.public_key)
            found = {"public_key": rotation.public_key, "proof": rotation.proof}
            data = {name: base64.b64encode(value).decode() for name, value in found.items()}
        device.reply(command.id, "rotate-keys", **data)
