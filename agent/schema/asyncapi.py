"""The AsyncAPI 3.0 document of everything that crosses the broker, made from the structs themselves.

https://www.asyncapi.com/docs/reference/specification/v3.0.0. The document speaks as the device: what it
sends has the action `send`. `vigil asyncapi` prints it; `docs/asyncapi.json` is that, committed.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import msgspec

from agent.schema.blocks import MAX_BLOCK_BYTES, BlockRequest
from agent.schema.certificates import CertificateReply, CertificateRequest
from agent.schema.drift import DriftNotice
from agent.schema.events import Event, ZoneEvent
from agent.schema.governor import GovernorMove
from agent.schema.home_assistant import CameraCounts, Discovery, UpdateProgress
from agent.schema.measures import TelemetryDelta
from agent.schema.messages import (
    MESSAGE_VERSION,
    CommandBody,
    Detections,
    Hint,
    KeyReply,
    KeyRequest,
    Reply,
    State,
    Telemetry,
)
from agent.schema.topics import DEFAULT_PREFIX, DeviceTopics

_JSON = "application/json"
_BINARY = "application/octet-stream"
_COMPONENTS = "#/components/schemas/"
_DEVICE, _GROUP, _CAMERA = "{device}", "{group}", "{camera}"
_TOPICS = DeviceTopics(_DEVICE, "{prefix}")


@dataclass(frozen=True)
class Channel:
    """One topic.

    Attributes:
        address: With `{prefix}`, `{device}`, `{group}` and `{camera}` in it.
        sends: Whether the device sends on it; else it receives.
        message: The struct; None for what is not described by one.
        qos: As the device publishes or subscribes.
    """

    name: str
    address: str
    sends: bool
    message: type[msgspec.Struct] | None
    qos: int = 1
    retained: bool = False


CHANNELS = (
    Channel("state", _TOPICS.state, sends=True, message=State, retained=True),
    Channel("telemetry", _TOPICS.telemetry, sends=True, message=Telemetry),
    Channel("telemetryDelta", _TOPICS.telemetry_delta, sends=True, message=TelemetryDelta),
    Channel("event", _TOPICS.event(_CAMERA), sends=True, message=Event),
    Channel("zone", _TOPICS.zone(_CAMERA), sends=True, message=ZoneEvent),
    Channel("detections", _TOPICS.detections(_CAMERA), sends=True, message=Detections, qos=0),
    Channel("governor", _TOPICS.governor, sends=True, message=GovernorMove),
    Channel("drift", _TOPICS.drift, sends=True, message=DriftNotice),
    Channel("command", _TOPICS.command, sends=False, message=None),
    Channel("groupCommand", _TOPICS.group_command(_GROUP), sends=False, message=None),
    Channel("reply", _TOPICS.reply, sends=True, message=Reply),
    Channel("hint", _TOPICS.hint, sends=False, message=Hint, retained=True),
    Channel("blockRequest", _TOPICS.leaf("blk/req"), sends=True, message=BlockRequest, qos=0),
    Channel("block", _TOPICS.leaf("blk/rsp"), sends=False, message=None, qos=0),
    Channel("keyRequest", _TOPICS.leaf("key/req"), sends=True, message=KeyRequest, qos=0),
    Channel("haUpdate", _TOPICS.ha_update, sends=True, message=UpdateProgress, retained=True),
    Channel(
        "haCamera", _TOPICS.ha_camera(_CAMERA), sends=True, message=CameraCounts, retained=True
    ),
    Channel("haPicture", _TOPICS.ha_picture(_CAMERA), sends=True, message=None, qos=0),
    Channel("haPress", _TOPICS.ha_press, sends=False, message=None),
    Channel(
        "haDiscovery",
        "homeassistant/device/{device}/config",
        sends=True,
        message=Discovery,
        retained=True,
    ),
    Channel("keyReply", _TOPICS.leaf("key/rsp"), sends=False, message=KeyReply, qos=0),
    Channel(
        "certificateRequest",
        _TOPICS.leaf("crt/req"),
        sends=True,
        message=CertificateRequest,
        qos=0,
    ),
    Channel(
        "certificateReply", _TOPICS.leaf("crt/rsp"), sends=False, message=CertificateReply, qos=0
    ),
)
_PARAMETERS = {
    "prefix": {"description": "First part of all topics of a site.", "default": DEFAULT_PREFIX},
    "device": {"description": "Id of the device: the common name of its certificate."},
    "group": {"description": "A group of devices."},
    "camera": {"description": "Name of a camera of the device."},
}
# What no struct describes: a signed envelope (DSSE) around a command, and a block with its binary header.
_FOREIGN: dict[str, dict[str, Any]] = {
    "command": {
        "title": "A command in a DSSE envelope; `payload` is the base64 of a CommandBody",
        "type": "object",
        "required": ["payload", "payloadType", "signatures"],
        "properties": {
            "payload": {"type": "string", "contentEncoding": "base64"},
            "payloadType": {"type": "string"},
            "signatures": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": "object",
                    "required": ["keyid", "sig"],
                    "properties": {"keyid": {"type": "string"}, "sig": {"type": "string"}},
                },
            },
        },
    },
    "haPicture": {"title": "A camera's picture, JPEG", "type": "string", "format": "binary"},
    "haPress": {"title": "The name of a button", "type": "string"},
    "block": {
        "title": (
            "Request id (8 bytes), status (2), offset (8) and total (8), big-endian, then at most "
            f"{MAX_BLOCK_BYTES} bytes of the file"
        ),
        "type": "string",
        "format": "binary",
    },
}


def asyncapi_document(version: str) -> dict[str, Any]:
    """Return the document as JSON data; `version` is the agent's."""
    structs = [CommandBody, *(one.message for one in CHANNELS if one.message is not None)]
    _, schemas = msgspec.json.schema_components(structs, ref_template=_COMPONENTS + "{name}")
    messages = {_message_name(one): _message(one) for one in CHANNELS}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Vigil, as a device speaks",
            "version": version,
            "description": f"Message version {MESSAGE_VERSION}. Times are Unix milliseconds, those in commands seconds.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": _JSON,
        "servers": {
            "broker": {"host": "broker:8883", "protocol": "secure-mqtt", "protocolVersion": "5"}
        },
        "channels": {one.name: _channel(one) for one in CHANNELS},
        "operations": {one.name: _operation(one) for one in CHANNELS},
        "components": {"schemas": schemas, "messages": messages, "parameters": _PARAMETERS},
    }


def asyncapi_json(version: str) -> bytes:
    """Return the document as it is committed: indented JSON with an end of line."""
    text = json.dumps(asyncapi_document(version), indent=1, sort_keys=True, ensure_ascii=False)
    return f"{text}\n".encode()


def channel_of(topic: str, prefix: str = DEFAULT_PREFIX) -> Channel | None:
    """Return the channel that a topic belongs to, None for a topic that is not described."""
    for one in CHANNELS:
        levels = re.split(r"\{\w+\}", one.address.replace("{prefix}", prefix))
        if re.fullmatch("[^/]+".join(re.escape(level) for level in levels), topic):
            return one
    return None


def _channel(one: Channel) -> dict[str, Any]:
    name = _message_name(one)
    wanted = [parameter for parameter in _PARAMETERS if f"{{{parameter}}}" in one.address]
    return {
        "address": one.address,
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
        "parameters": {each: {"$ref": f"#/components/parameters/{each}"} for each in wanted},
    }


def _operation(one: Channel) -> dict[str, Any]:
    binding = {"qos": one.qos, "retain": one.retained, "bindingVersion": "0.2.0"}
    return {
        "action": "send" if one.sends else "receive",
        "channel": {"$ref": f"#/channels/{one.name}"},
        "bindings": {"mqtt": binding},
    }


def _message(one: Channel) -> dict[str, Any]:
    if one.message is None:
        schema = _FOREIGN[_message_name(one)]
        kind = _BINARY if schema["type"] == "string" else _JSON
    else:
        schema, kind = {"$ref": _COMPONENTS + one.message.__name__}, _JSON
    return {"name": _message_name(one), "contentType": kind, "payload": schema}


def _message_name(one: Channel) -> str:
    return {"groupCommand": "command"}.get(one.name, one.name)
