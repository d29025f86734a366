"""Devices of a site that ask a controller for blocks, model keys and certificates."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from agent.fleet.home import FleetHome
from agent.schema.blocks import BlockReply
from agent.schema.certificates import CertificateReply, CertificateRequest
from agent.schema.document import parse_json, to_json
from agent.schema.messages import KeyReply, KeyRequest
from agent.trust.identity import certificate_request
from tests.fleet.fleet_site import tls_of
from tests.fleet.mqtt_device import Device

RELEASE = "gate/people/1.0"
ANSWERS = ("blk/rsp", "key/rsp", "crt/rsp")
BLOCKS_EACH = KEYS_EACH = 5


def join(home: FleetHome, name: str) -> Device:
    """Connect a device that hears answers."""
    device = Device(home.config.broker_port, tls_of(home, name), name, host=home.config.broker_host)
    assert device.accepted()
    for leaf in ANSWERS:
        device.subscribe(f"vigil/1/d/{name}/{leaf}")
    return device


def ask(name: str, device: Device) -> Iterator[str]:
    """Send one device's requests of all kinds; gives what answers must name."""
    own = f"vigil/1/d/{name}"
    for number in range(BLOCKS_EACH):
        one = f"{zlib.crc32(name.encode()):08x}{number:08x}"
        request = {"id": one, "p": "metadata/timestamp.json", "o": 0, "l": 1024}
        device.publish(f"{own}/blk/req", to_json(request))
        yield f"blk/rsp {one}"
    for number in range(KEYS_EACH):
        one = f"key-of-{name}-{number}"
        device.publish(f"{own}/key/req", to_json(KeyRequest(v=1, id=one, release=RELEASE)))
        yield f"key/rsp {one}"
    one = f"certificate-of-{name}"
    csr = certificate_request(ec.generate_private_key(ec.SECP256R1()), name).decode()
    device.publish(f"{own}/crt/req", to_json(CertificateRequest(v=1, id=one, csr=csr)))
    yield f"crt/rsp {one}"


def identity(topic: str, payload: bytes) -> str:
    """Which request an answer is to; it must be a good one."""
    leaf = topic.split("/", 4)[-1]
    if leaf == "blk/rsp":
        block = BlockReply.decode(payload)
        assert block.status == 200, block
        return f"{leaf} {block.id.hex()}"
    kind = KeyReply if leaf == "key/rsp" else CertificateReply
    reply: Any = parse_json(payload, kind)
    assert reply.status == 200, reply
    return f"{leaf} {reply.id}"
