"""The doubled TensorRT's engines: magic, digest, a line of facts, and the ONNX model that is run for them."""

import hashlib
import json
from typing import Any

MAGIC = b"ftrt"
VERSION = "10.13.3"


def pack(model: bytes, version: str = VERSION, **facts: Any) -> bytes:
    rest = json.dumps({"version": version} | facts).encode() + b"\n" + model
    return MAGIC + hashlib.sha256(rest).digest() + rest


def unpack(engine: bytes) -> tuple[dict[str, Any], bytes] | None:
    """Facts and model; None for what is no engine or a damaged one."""
    digest, rest = engine[4:36], engine[36:]
    if engine[:4] != MAGIC or hashlib.sha256(rest).digest() != digest:
        return None
    facts, _, model = rest.partition(b"\n")
    return json.loads(facts), model
