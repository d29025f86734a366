"""Commands as people give them: numbered, dated, signed, and approved by as many as the policy asks for.

This runs on an operator's workstation with that person's key. The controller relays the result; it holds
no key that could command a device.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from securesystemslib.signer import Signer

from agent.errors import CommandError, ConfigError
from agent.fleet.registry import Registry
from agent.host.clock import wall_ms
from agent.host.disk import REAL_DISK, Disk
from agent.host.words import counted
from agent.schema.document import Malformed, parse_json, to_json, trusted_json
from agent.schema.manifest import ReleaseRef
from agent.schema.messages import COMMAND_MAX_BYTES, COMMAND_TYPE, MESSAGE_VERSION, CommandBody
from agent.schema.values import Struct
from agent.trust.envelope import add_signature, sign_envelope

LIFE_S = 3600
_COUNTERS_LIMIT = 1 << 20


class _Envelope(Struct):
    payload: bytes
    payloadType: str  # noqa: N815 - name fixed by DSSE
    signatures: list[dict[str, str]]


@dataclass(frozen=True)
class SignedCommand:
    """A command ready to be relayed: its id, its audience (`d/<device>` or `g/<group>`) and its envelope."""

    id: str
    audience: str
    envelope: bytes


@dataclass(frozen=True)
class Order:
    """What to do and who must do it: `audience` is `d/<device>` or `g/<group>`."""

    cmd: str
    args: dict[str, Any]
    audience: str


def deploy_order(release: ReleaseRef, audience: str) -> Order:
    """Return the order to install `release`."""
    return Order("deploy", {"release": release.path, "sha256": release.sha256}, audience)


def destination(audience: str) -> tuple[str, str]:
    """Return `d` or `g` and the name of the device or the group.

    Raises:
        CommandError: The audience is neither.
    """
    kind, _, name = audience.partition("/")
    if kind not in {"d", "g"} or not name:
        message = f"audience: expected d/<device> or g/<group>, found {audience[:80]!r}"
        hint = "" if "/" in audience else f"for one device write d/{audience[:80]}"
        raise CommandError(message, code="command.audience", hint=hint)
    return kind, name


def addressees(registry: Registry, audience: str) -> list[str]:
    """Return the registered devices that a command reaches.

    Raises:
        CommandError: The audience is neither a device nor a group.
        ConfigError: It is no device of this fleet, or a group without any.
    """
    kind, name = destination(audience)
    devices = [record for record in registry.devices() if not record.revoked]
    found = [one.id for one in devices if name in ([one.id] if kind == "d" else one.groups)]
    if not found:
        message = f"{audience}: no such device" if kind == "d" else f"{audience}: no device in it"
        hint = "see `vigil fleet devices`; those that are revoked do not count"
        raise ConfigError(message, code="fleet.unknown_device", hint=hint)
    return found


class CommandDesk:
    """Numbers and signs commands; the counters of its issuers survive in the file `counters`.

    A counter is at least the time in milliseconds, so that a lost file repeats none.
    """

    def __init__(self, counters: Path, disk: Disk = REAL_DISK) -> None:
        self._path = counters
        self._disk = disk

    def issue(
        self,
        order: Order,
        issuer: str,
        signers: Sequence[Signer],
        policy_version: int,
        life_s: int = LIFE_S,
    ) -> SignedCommand:
        """Sign a new command.

        Args:
            order: What to do.
            issuer: Name of the person, as the policy has it; one of the signers is theirs.
            signers: Keys of the people who approve, the issuer's among them.
            policy_version: Oldest policy a device must have to obey.
            life_s: Seconds after which the command is void.

        Raises:
            CommandError: It does not fit the format, is too long, or is for nobody.
            StorageError: The counter cannot be kept; nothing was signed.
        """
        destination(order.audience)
        now_ms = wall_ms()
        body = CommandBody(
            v=MESSAGE_VERSION,
            id=secrets.token_urlsafe(12),
            iss=issuer,
            cmd=order.cmd,
            args=order.args,
            aud=order.audience,
            ctr=self._next_counter(issuer, now_ms),
            iat=now_ms // 1000,
            exp=now_ms // 1000 + life_s,
            policy_ver=policy_version,
        )
        data = _checked(body)
        envelope = _bounded(sign_envelope(data, COMMAND_TYPE, signers))
        return SignedCommand(body.id, body.aud, envelope)

    def _next_counter(self, issuer: str, now_ms: int) -> int:
        counters = self._load()
        counters[issuer] = max(counters.get(issuer, 0) + 1, now_ms)
        self._disk.make_dirs(self._path.parent)
        self._disk.write_atomic(self._path, to_json(counters))
        return counters[issuer]

    def _load(self) -> dict[str, int]:
        if not self._disk.exists(self._path):
            return {}
        try:
            return parse_json(self._disk.read(self._path, _COUNTERS_LIMIT), dict[str, int])
        except Malformed as error:
            hint = "restore the file, or delete it: counters go on from the clock"
            raise ConfigError(f"{self._path}: {error}", hint=hint) from error


def read_command(envelope: bytes) -> SignedCommand:
    """Read where a signed command goes. This verifies nothing: that is for the device.

    Raises:
        TrustError: It is no envelope of a command.
    """
    body = command_body(envelope)
    return SignedCommand(body.id, body.aud, envelope)


def command_body(envelope: bytes) -> CommandBody:
    """Read what a signed command says. This verifies nothing, too.

    Raises:
        TrustError: It is no envelope of a command.
    """
    payload = trusted_json(envelope, _Envelope, "command").payload
    return trusted_json(payload, CommandBody, "command")


def describe(command: SignedCommand) -> str:
    """Return what a command says, for the person who is to approve it; the signatures are for the device.

    Raises:
        TrustError: It is no envelope of a command.
    """
    envelope = trusted_json(command.envelope, _Envelope, "command")
    body = trusted_json(envelope.payload, CommandBody, "command")
    until = datetime.fromtimestamp(body.exp, timezone.utc)
    return (
        f"{body.cmd} {json.dumps(body.args)}\n  for {body.aud}, issued by {body.iss}, "
        f"{counted(len(envelope.signatures), 'signature')} so far, void after {until:%Y-%m-%d %H:%M} UTC"
    )


def approve_command(command: SignedCommand, signer: Signer) -> SignedCommand:
    """Add one more person's approval to a signed command.

    Raises:
        TrustError: It is no envelope of a command.
        CommandError: It became too long.
    """
    envelope = _bounded(add_signature(command.envelope, COMMAND_TYPE, signer))
    return replace(command, envelope=envelope)


def _checked(body: CommandBody) -> bytes:
    data = to_json(body)
    try:
        parse_json(data, CommandBody)
    except Malformed as error:
        raise CommandError(f"command {body.cmd}: {error}", code="command.malformed") from error
    return data


def _bounded(envelope: bytes) -> bytes:
    if len(envelope) > COMMAND_MAX_BYTES:
        message = f"command: expected at most {COMMAND_MAX_BYTES} bytes, found {len(envelope)}"
        raise CommandError(message, code="command.too_long")
    return envelope
