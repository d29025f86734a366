"""Asking the key service for a release's key, wrapped to this device (`agent.trust.grant` opens it)."""

from __future__ import annotations

import secrets
import time

from agent.errors import KeyUnavailableError, TransferError, TrustError
from agent.schema.document import Malformed, parse_json, to_json
from agent.schema.messages import MESSAGE_VERSION, KeyReply, KeyRequest
from agent.update.pace import Clock
from agent.update.ports import Channel

MAX_GRANT_BYTES = 4096
_STEP_S = 0.5
_OK, _REVOKED, _UNKNOWN, _BUSY = 200, 403, 404, 503


class KeyBroker:
    """Fetches grants over the device's `key` channel.

    Args:
        channel: The `key` channel.
        timeout_s: Seconds until the key service counts as unreachable.
        answer_s: Seconds after which an unanswered request is sent again.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        channel: Channel,
        timeout_s: float = 120.0,
        answer_s: float = 5.0,
        clock: Clock = time.monotonic,
    ) -> None:
        self._channel = channel
        self._timeout_s = timeout_s
        self._answer_s = answer_s
        self._clock = clock

    def grant(self, release_id: str) -> bytes:
        """Return the HPKE blob for `<class>/<name>/<version>`.

        Raises:
            TrustError: `key.revoked`: this device gets no more keys.
            KeyUnavailableError: `key.unknown_release`: the service has no key for it (yet).
            TransferError: `key.no_answer`.
        """
        request = KeyRequest(v=MESSAGE_VERSION, id=secrets.token_hex(8), release=release_id)
        deadline, due, generation = self._clock() + self._timeout_s, 0.0, -1
        while (now := self._clock()) < deadline:
            if now >= due or generation != self._channel.generation:
                due, generation = now + self._answer_s, self._channel.generation
                self._send(request)
            reply = self._receive(request.id)
            if reply is not None and (grant := _read(reply, release_id)):
                return grant
        message = f"{release_id}: no answer from the key service in {self._timeout_s:.0f} s"
        raise TransferError(message, code="key.no_answer")

    def _send(self, request: KeyRequest) -> None:
        try:
            self._channel.send(to_json(request))
        except TransferError:
            return  # offline: sent again when due or when the link is back

    def _receive(self, identity: str) -> KeyReply | None:
        payload = self._channel.receive(_STEP_S)
        try:
            reply = parse_json(payload, KeyReply) if payload is not None else None
        except Malformed:
            return None
        return reply if reply is not None and reply.id == identity else None


def _read(reply: KeyReply, release_id: str) -> bytes:
    """Return the grant, empty when the service is busy and is to be asked again."""
    if reply.status == _OK and 0 < len(reply.grant) <= MAX_GRANT_BYTES:
        return reply.grant
    if reply.status == _REVOKED:
        message = f"{release_id}: the key service refuses this device its key"
        raise TrustError(message, code="key.revoked", hint="ask the fleet's administrator")
    if reply.status == _UNKNOWN:
        message = f"{release_id}: the key service knows no key for it"
        raise KeyUnavailableError(message, code="key.unknown_release")
    return b""
