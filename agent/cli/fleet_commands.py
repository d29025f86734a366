"""`vigil fleet` as people use it to command devices: sign, approve, relay, or all at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli.output import AsJson, mention, tell, writable, write_file

if TYPE_CHECKING:
    from agent.fleet.controller import Controller
    from agent.fleet.home import FleetHome
    from agent.fleet.operators import Order, SignedCommand
    from agent.schema.messages import Reply

Home = Annotated[Path, typer.Argument(help="The controller's folder.")]
Audience = Annotated[str, typer.Argument(help="d/<device> or g/<group>.")]
Command = Annotated[str, typer.Argument(help="The command.")]
Issuer = Annotated[str, typer.Option("--as", help="Your name in the policy.")]
Keys = Annotated[list[Path], typer.Option("--key", help="Private key of an approver; repeatable.")]
Args = Annotated[str, typer.Option(help="Arguments as a JSON object.")]
PolicyVersion = Annotated[
    int, typer.Option(help="Oldest policy a device must have to obey.", min=0)
]
Counters = Annotated[Path, typer.Option(help="File that keeps your command counters.")]
Wait = Annotated[float, typer.Option(help="Seconds to wait for the outcome.", min=0.1)]
Save = Annotated[
    Path | None, typer.Option(callback=writable, help="Folder for files that come back.")
]
COUNTERS = Path("~/.local/state/vigil/counters.json")
_HEARD_WITHIN_S = 10.0


def send(  # noqa: PLR0913, PLR0917 - one option each
    home: Home,
    audience: Audience,
    cmd: Command,
    issuer: Issuer,
    key: Keys,
    args: Args = "{}",
    policy_version: PolicyVersion = 0,
    counters: Counters = COUNTERS,
    wait: Wait = 30.0,
    save: Save = None,
    as_json: AsJson = False,
) -> None:
    """Sign a command with the keys of its approvers, send it and wait for the outcome."""
    from agent.fleet.home import open_home
    from agent.fleet.operators import Order

    order = Order(cmd, _json_object(args), audience)
    command = _sign(order, issuer, key, policy_version, counters)
    _relay(open_home(home), command, wait, save, as_json=as_json)


def deploy(  # noqa: PLR0913, PLR0917 - one option each
    home: Home,
    audience: Audience,
    release: Annotated[str, typer.Argument(help="Published: <class>/<name>/<version>.")],
    issuer: Issuer,
    key: Keys,
    policy_version: PolicyVersion = 0,
    counters: Counters = COUNTERS,
    wait: Wait = 900.0,
    as_json: AsJson = False,
) -> None:
    """Order devices to install a published release and wait for the outcome."""
    from agent.cli.fleet_releases import published_release
    from agent.fleet.home import open_home
    from agent.fleet.operators import deploy_order

    opened = open_home(home)
    order = deploy_order(published_release(opened, release), audience)
    command = _sign(order, issuer, key, policy_version, counters)
    _relay(opened, command, wait, None, as_json=as_json)


def rotate_keys(  # noqa: PLR0913, PLR0917 - one option each
    home: Home,
    device: Annotated[str, typer.Argument(help="Its id.")],
    issuer: Issuer,
    key: Keys,
    policy_version: PolicyVersion = 0,
    counters: Counters = COUNTERS,
    wait: Wait = 60.0,
    as_json: AsJson = False,
) -> None:
    """Give a device a new key for its models; its present one vouches for it."""
    from agent.fleet import rotation
    from agent.fleet.home import open_home

    opened = open_home(home)
    asked = rotation.begin(opened.registry, device)
    order = rotation.order_prepare(asked)
    command = _sign(order, issuer, key, policy_version, counters)
    replies = _exchange(opened, command, wait, as_json=as_json)
    rotation.finish(opened.registry, asked, replies[-1])
    mention(f"{device}: its new key is registered", as_json=as_json)
    command = _sign(rotation.order_adopt(device), issuer, key, policy_version, counters)
    _relay(opened, command, wait, None, as_json=as_json)


def sign(  # noqa: PLR0913, PLR0917 - one option each
    audience: Audience,
    cmd: Command,
    issuer: Issuer,
    key: Keys,
    out: Annotated[
        Path,
        typer.Option(
            dir_okay=False, callback=writable, help="File to write, for the next approver."
        ),
    ],
    args: Args = "{}",
    policy_version: PolicyVersion = 0,
    counters: Counters = COUNTERS,
    hours: Annotated[
        float, typer.Option(help="How long it may be approved and sent.", min=0.1, max=24.0)
    ] = 12.0,
    as_json: AsJson = False,
) -> None:
    """Make a command that others are still to approve: a file to carry from person to person."""
    from agent.fleet.operators import CommandDesk, Order
    from agent.release.signers import load_signer

    order = Order(cmd, _json_object(args), audience)
    signers = [load_signer(path) for path in key]
    desk = CommandDesk(counters.expanduser())
    command = desk.issue(order, issuer, signers, policy_version, int(hours * 3600))
    write_file(out, command.envelope)
    tell(
        {"file": str(out), "command": command.id},
        f"{out}: command {command.id}; let others approve it, then relay it",
        as_json=as_json,
    )


def approve(
    file: Annotated[Path, typer.Argument(help="The command's file.")],
    key: Annotated[Path, typer.Option(help="Your private key.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Read what a command would do, and add your signature to its file."""
    from agent.fleet.operators import approve_command, describe
    from agent.release.signers import load_signer

    command = _read(file)
    mention(describe(command), as_json=as_json)
    if not yes:
        typer.confirm("Sign it?", abort=True, err=as_json)
    write_file(file, approve_command(command, load_signer(key)).envelope)
    tell({"file": str(file), "command": command.id}, f"{file}: signed", as_json=as_json)


def relay(
    home: Home,
    file: Annotated[Path, typer.Argument(help="The command's file.")],
    wait: Wait = 30.0,
    save: Save = None,
    as_json: AsJson = False,
) -> None:
    """Send a command that was signed and approved as a file, and wait for the outcome."""
    from agent.fleet.home import open_home

    _relay(open_home(home), _read(file), wait, save, as_json=as_json)


def add_to(app: typer.Typer) -> None:
    """Add these commands to `vigil fleet`."""
    for command in (send, deploy, rotate_keys, sign, approve, relay):
        app.command()(command)


def _read(file: Path) -> SignedCommand:
    from agent.fleet.operators import read_command
    from agent.host.disk import REAL_DISK
    from agent.schema.messages import COMMAND_MAX_BYTES

    return read_command(REAL_DISK.read(file, COMMAND_MAX_BYTES))


def _sign(
    order: Order, issuer: str, keys: list[Path], policy_version: int, counters: Path
) -> SignedCommand:
    from agent.fleet.operators import CommandDesk
    from agent.release.signers import load_signer

    signers = [load_signer(path) for path in keys]
    return CommandDesk(counters.expanduser()).issue(order, issuer, signers, policy_version)


def _relay(
    opened: FleetHome, command: SignedCommand, wait_s: float, save: Path | None, *, as_json: bool
) -> None:
    replies = _exchange(opened, command, wait_s, as_json=as_json)
    _tell(replies[-1], save, replies, as_json=as_json)


def _exchange(
    opened: FleetHome, command: SignedCommand, wait_s: float, *, as_json: bool
) -> list[Reply]:
    """Send a command and return all that the device which ended it replied, the outcome last.

    Raises:
        CommandError: It failed, with the device's code.
        ConfigError: No device of this fleet would hear it.
        TransferError: No outcome came in time.
    """
    from agent.errors import CommandError
    from agent.fleet.access import DESK
    from agent.fleet.controller import Controller
    from agent.fleet.operators import addressees
    from agent.schema.messages import ReplyStatus

    addressees(opened.registry, command.audience)  # before waiting for nobody
    kind, _, name = command.audience.partition("/")
    heard = name if kind == "d" else "+"
    controller = Controller(opened.broker(DESK), services=None, devices=heard)
    controller.start()
    try:
        _hear_from(controller, command.audience, as_json=as_json)
        reply = controller.ask(command, wait_s)
    finally:
        controller.stop()
    replies = [one for one in controller.inbox.replies(command.id) if one.device == reply.device]
    if reply.status is ReplyStatus.FAILED:
        _tell(reply, None, replies, as_json=as_json)
        raise CommandError(f"{reply.device}: {reply.cmd}: {reply.message}", code=reply.code)
    return replies


def _tell(reply: Reply, save: Path | None, replies: Sequence[Reply], *, as_json: bool) -> None:
    from agent.fleet.attachments import put_together

    data = {name: value for name, value in reply.data.items() if name != "attachment"}
    document = {
        "device": reply.device,
        "command": reply.id,
        "cmd": reply.cmd,
        "status": reply.status.value,
        "code": reply.code,
        "data": data,
        "file": None,
    }
    # At once: what the device did is to be known also where its file cannot be kept.
    told = f"{reply.device}: {reply.cmd} {reply.status.value} {json.dumps(data) if data else ''}"
    mention(told.rstrip(), as_json=as_json)
    lines = list[str]()
    parts = [one.data["attachment"] for one in replies if "attachment" in one.data]
    if parts and save is None:
        lines = [f"{parts[0].get('name')}: give --save FOLDER to keep it"]
    elif save is not None and parts:
        name, content = put_together(parts)
        target = save / f"{reply.device}-{name}"
        write_file(target, content)
        document["file"] = str(target)
        lines = [f"{target}: written"]
    tell(document, *lines, as_json=as_json)


def _hear_from(controller: Controller, audience: str, *, as_json: bool) -> None:
    """Wait a little for a device that has just been started: the broker keeps nothing for one it never saw."""
    from agent.errors import TransferError

    kind, _, device = audience.partition("/")
    if kind != "d":
        return
    try:
        controller.inbox.wait_state(
            device, lambda state: not state.online or state.policy_ver > 0, _HEARD_WITHIN_S
        )
    except TransferError:
        told = f"{device}: not heard of yet, or without a policy; sending all the same"
        mention(told, as_json=as_json)


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"expected JSON, found {error}", param_hint="--args") from error
    if not isinstance(value, dict):
        raise typer.BadParameter("expected a JSON object", param_hint="--args")
    return value
