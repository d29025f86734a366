"""A device that is only a client of the broker and answers the commands it is given."""

from __future__ import annotations

import time

from agent.control.attachments import attach
from agent.fleet.operators import read_command
from agent.schema.document import to_json
from agent.schema.messages import ReplyStatus, State
from tests.fleet.mqtt_device import Device

BUNDLE = bytes(range(256)) * 200


def start_late(device: Device) -> None:
    """Come up after the command was given, and answer it."""
    time.sleep(2.0)
    device.subscribe("vigil/1/d/cam-1/cmd")
    state = State(v=1, device="cam-1", online=True, policy_ver=1)
    device.publish("vigil/1/d/cam-1/state", to_json(state), retain=True)
    answer_once(device)


def answer_once(device: Device) -> None:
    """Reply that the command which comes next succeeded."""
    device.reply(read_command(device.get()[1]).id, "stop")


def answer_with_a_file(
    device: Device, heard: list[bytes], data: bytes = BUNDLE, cmd: str = "diagnostics"
) -> None:
    """Send a file in answer to the command which comes next, and keep that command."""
    heard.append(device.get()[1])
    command = read_command(heard[-1])
    for part in attach("bundle.bin", data, 16_384):
        device.tell(command.id, cmd, ReplyStatus.RUNNING, attachment=part)
    device.reply(command.id, cmd)
