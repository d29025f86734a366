"""The signed commands of a roll-out: a folder with one file for each device, made and approved offline.

One command orders one device to install one release; so whoever holds the folder can reach nobody else and
with nothing else. People may sign wave by wave: what is not signed cannot be sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from securesystemslib.signer import Signer

from agent.errors import ConfigError, TrustError
from agent.fleet.operators import (
    CommandDesk,
    SignedCommand,
    approve_command,
    command_body,
    deploy_order,
)
from agent.host.disk import REAL_DISK, Disk
from agent.schema.manifest import ReleaseRef
from agent.schema.messages import COMMAND_MAX_BYTES, CommandBody, DeployArgs, Policy
from agent.schema.values import TargetPath
from agent.trust.policy import Situation, authorise

SUFFIX = ".command"


@dataclass(frozen=True)
class Approval:
    """Who signs a command, under which policy, for how long."""

    issuer: str
    signers: Sequence[Signer]
    policy_version: int
    life_s: int


def sign_commands(
    folder: Path,
    desk: CommandDesk,
    release: ReleaseRef,
    devices: Sequence[str],
    approval: Approval,
) -> None:
    """Sign a deploy command for each device into `folder`.

    Raises:
        ConfigError: Commands are there already.
        StorageError: A file cannot be written; nothing was sent to anybody.
    """
    if REAL_DISK.exists(folder) and any(folder.glob(f"*{SUFFIX}")):
        raise ConfigError(f"{folder}: commands are there already", hint="name a new folder")
    REAL_DISK.make_dirs(folder)
    for device in devices:
        command = desk.issue(
            deploy_order(release, f"d/{device}"),
            approval.issuer,
            approval.signers,
            approval.policy_version,
            approval.life_s,
        )
        REAL_DISK.write_atomic(folder / f"{device}{SUFFIX}", command.envelope)


def read_commands(folder: Path, disk: Disk = REAL_DISK) -> dict[Path, SignedCommand]:
    """Return the commands of a folder by file. This verifies no signature: that is for the devices.

    Raises:
        ConfigError: There are none.
        TrustError: A file is no command.
        StorageError: A file cannot be read.
    """
    files = sorted(folder.glob(f"*{SUFFIX}"))
    if not files:
        hint = "make them with `vigil fleet rollout sign`"
        raise ConfigError(f"{folder}: no *{SUFFIX} file", code="rollout.command", hint=hint)
    found = {}
    for path in files:
        envelope = disk.read(path, COMMAND_MAX_BYTES)
        body = command_body(envelope)
        found[path] = SignedCommand(body.id, body.aud, envelope)
    return found


def approve_commands(commands: Mapping[Path, SignedCommand], signer: Signer) -> None:
    """Add one more person's signature to every file.

    Raises:
        StorageError: A file cannot be written; those before it are approved, and approving again mends it.
    """
    for path, command in commands.items():
        REAL_DISK.write_atomic(path, approve_command(command, signer).envelope)


def for_devices(
    commands: Mapping[Path, SignedCommand],
    release: TargetPath,
    sha256: str,
    devices: Sequence[str],
    now_s: int,
) -> dict[str, SignedCommand]:
    """Return each device's command, after checking that it orders this release of a device of the plan.

    Raises:
        ConfigError: A file orders something else, or somebody else, or has expired (`rollout.command`).
    """
    wanted = DeployArgs(release=release, sha256=sha256)
    known, found = set(devices), {}
    for path, command in commands.items():
        body = command_body(command.envelope)
        device = body.aud.removeprefix("d/")
        problem = _problem(body, wanted, device in known, now_s)
        if problem or device in found:
            raise ConfigError(
                f"{path}: {problem or f'a second command for {device}'}", code="rollout.command"
            )
        found[device] = command
    return found


def check_authorised(commands: Mapping[str, SignedCommand], policy: Policy, now_s: int) -> None:
    """Refuse what every device would refuse by this policy: a roll-out halts by it, and its name is gone.

    Raises:
        ConfigError: Too few people approved, or some who may not; with the code that a device would answer.
    """
    for device, command in commands.items():
        seen = Situation(device, frozenset(), now_s, lambda _: 0, lambda _: False)
        try:
            authorise(command.envelope, policy, seen)
        except TrustError as error:
            message = f"the command for {device}: {error.message}; every device would refuse it"
            hint = "who may, and how many must, stands in the policy: `vigil fleet rollout approve`"
            raise ConfigError(message, code=error.code, hint=hint) from error


def expiry_s(command: SignedCommand) -> int:
    """Return when a command becomes void, Unix seconds."""
    return command_body(command.envelope).exp


def _problem(body: CommandBody, wanted: DeployArgs, known: bool, now_s: int) -> str:  # noqa: FBT001 - one of four facts
    if not body.aud.startswith("d/") or not known:
        return f"is for {body.aud!r}, which is no device of the plan"
    if body.cmd != "deploy" or _release(body) != (wanted.release, wanted.sha256):
        return f"does not order to install {wanted.release}"
    return "has expired; sign anew" if body.exp <= now_s else ""


def _release(body: CommandBody) -> tuple[object, object]:
    return body.args.get("release"), body.args.get("sha256")
