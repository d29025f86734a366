"""The key service: wraps a release's key to a device's own public key, or refuses.

There is no key that a group shares, so taking a device out is refusing its next request.
"""

from __future__ import annotations

from agent.fleet.registry import DeviceRecord, GrantRecord, Registry
from agent.host.clock import wall_ms
from agent.schema.document import Malformed, parse_json
from agent.schema.messages import MESSAGE_VERSION, KeyReply, KeyRequest
from agent.trust.grant import wrap

OK, BAD_REQUEST, FORBIDDEN, NOT_FOUND, BUSY = 200, 400, 403, 404, 503
NO_ID = "00000000"  # in a reply to a request whose own id cannot be read
REQUEST_LIMIT = 4096  # bytes
_LOGGED_CHARACTERS = 255


def decide(record: DeviceRecord | None, release_id: str, dek: bytes | None) -> tuple[int, str]:
    """Return the status and, for a refusal, the reason (pure)."""
    if record is None:
        return FORBIDDEN, "this device is not registered"
    if record.revoked:
        return FORBIDDEN, "this device is revoked"
    if release_id.split("/", 1)[0] != record.device_class:
        return FORBIDDEN, f"this device is of class {record.device_class}"
    if dek is None:
        return NOT_FOUND, f"no key is known for {release_id[:120]}"
    return OK, ""


class KeyService:
    """Answers key requests from what the registry knows; every answer is logged there."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def answer(self, device: str, payload: bytes) -> KeyReply:
        """Answer one request of `device`, the id that the broker vouches for."""
        try:
            request = _read(payload)
        except Malformed as error:
            return _reply(NO_ID, BAD_REQUEST, str(error))
        record = self._registry.device(device)
        dek = self._registry.release_key(request.release)
        status, message = decide(record, request.release, dek)
        grant = b""
        if record is not None and dek is not None and status == OK:
            grant = wrap(dek, record.public_key, request.release, record.device_class, device)
        release = request.release[:_LOGGED_CHARACTERS]
        self._registry.log_grant(GrantRecord(wall_ms(), device, release, status, message))
        return _reply(request.id, status, message, grant)


def busy(payload: bytes) -> KeyReply:
    """Return the reply that asks a device to repeat its request later."""
    try:
        return _reply(_read(payload).id, BUSY, "try again later")
    except Malformed as error:
        return _reply(NO_ID, BAD_REQUEST, str(error))


def _read(payload: bytes) -> KeyRequest:
    if len(payload) > REQUEST_LIMIT:
        raise Malformed("$", f"expected at most {REQUEST_LIMIT} bytes")
    return parse_json(payload, KeyRequest)


def _reply(identity: str, status: int, message: str, grant: bytes = b"") -> KeyReply:
    return KeyReply(v=MESSAGE_VERSION, id=identity, status=status, grant=grant, message=message)
