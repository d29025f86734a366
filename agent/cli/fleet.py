"""`vigil fleet`: the reference controller."""

from __future__ import annotations

import json
import logging
import signal
import sys
import threading
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from agent.fleet.controller import Controller
    from agent.fleet.home import FleetHome
    from agent.fleet.operators import Order, SignedCommand

app = typer.Typer(
    name="fleet", help="Enrol, serve and command devices (controller).", no_args_is_help=True
)
console = Console(highlight=False)

Home = Annotated[Path, typer.Argument(help="The controller's folder.")]
Audience = Annotated[str, typer.Argument(help="d/<device> or g/<group>.")]
Issuer = Annotated[str, typer.Option("--as", help="Your name in the policy.")]
Keys = Annotated[list[Path], typer.Option("--key", help="Private key of an approver; repeatable.")]
PolicyVersion = Annotated[int, typer.Option(help="Oldest policy a device must have to obey.")]
Counters = Annotated[Path, typer.Option(help="File that keeps your command counters.")]
Wait = Annotated[float, typer.Option(help="Seconds to wait for the outcome.")]
_HEARD_WITHIN_S = 10.0
COUNTERS = Path("~/.local/state/vigil/counters.json")


@app.command()
def init(
    home: Home,
    repository: Annotated[Path, typer.Option(help="Folder of the release repository.")],
    host: Annotated[str, typer.Option(help="Broker's name or address, as devices reach it.")],
    port: Annotated[int, typer.Option(help="Broker's port.")] = 8883,
    bulk_port: Annotated[
        int, typer.Option(help="Port of a second mosquitto for transfers; 0 for none.")
    ] = 0,
) -> None:
    """Make a fleet: authority, certificates, registry and mosquitto's configuration."""
    from agent.fleet.home import FLEET_SCHEMA, FleetConfig, create_home

    config = FleetConfig(
        schema=FLEET_SCHEMA,
        broker_host=host,
        broker_port=port,
        repository=str(repository.resolve()),
        bulk_port=bulk_port,
    )
    create_home(home, config).registry.close()
    console.print(f"{home}: made; keep {home}/ca from everybody else")
    console.print(f"start the broker as this user: mosquitto -c {home}/broker/mosquitto.conf")


@app.command()
def serve(
    home: Home,
    embedded_broker: Annotated[
        bool, typer.Option(help="Run a broker in this process (loopback, no persistence).")
    ] = False,
) -> None:
    """Serve keys and blocks until stopped."""
    from agent.fleet.access import CONTROLLER
    from agent.fleet.blocks import BlockServer
    from agent.fleet.broker import EmbeddedBroker
    from agent.fleet.controller import Controller, Services
    from agent.fleet.home import BROKER, members_of, open_home
    from agent.fleet.keys import KeyService
    from agent.release.repository import Repository

    logging.basicConfig(
        level="INFO", stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s"
    )
    opened = open_home(home)
    broker, registry = opened.broker(CONTROLLER), opened.registry
    if embedded_broker:
        EmbeddedBroker(
            home / BROKER, opened.authority, members_of(registry), broker.prefix, broker.port
        ).start()
    repository = Repository(opened.repository)
    services = Services(KeyService(registry), BlockServer(repository.public))
    bulk = opened.bulk_broker
    controllers = [Controller(place, services) for place in (broker, bulk) if place is not None]
    for controller in controllers:
        controller.start()
        controller.hint(repository.timestamp_version)
    console.print(f"serving on {broker.host}:{broker.port}")
    _until_stopped()
    for controller in controllers:
        controller.stop()


@app.command("enrol-token")
def enrol_token(
    home: Home,
    device: Annotated[str, typer.Argument(help="Id of the new device.")],
    device_class: Annotated[str, typer.Option("--class", help="Its class.")],
    out: Annotated[Path, typer.Option(help="Bundle folder to make and carry to the device.")],
    group: Annotated[list[str], typer.Option(help="A group of it; repeatable.")] = [],  # noqa: B006
) -> None:
    """Invite a device: make the bundle that `vigil enroll` takes, with a one-time token."""
    from agent.fleet.enrolment import Site, invite
    from agent.fleet.home import open_home
    from agent.fleet.registry import Invitation
    from agent.release.repository import Repository

    opened = open_home(home)
    config = opened.config
    root = Repository(opened.repository).root_bytes
    site = Site(config.broker_host, config.broker_port, root, config.prefix, config.bulk_port)
    invitation = Invitation(device, device_class, tuple(group))
    invite(out, opened.registry, opened.authority, invitation, site)
    console.print(f"{out}: carry it to the device and run `vigil enroll --bundle` there")


@app.command()
def admit(
    home: Home, bundle: Annotated[Path, typer.Argument(help="Bundle from the device.")]
) -> None:
    """Admit a device whose bundle came back with its request."""
    from agent.fleet import enrolment
    from agent.fleet.home import open_home

    opened = open_home(home)
    record = enrolment.admit(bundle, opened.registry, opened.authority)
    opened.write_access()
    console.print(f"{record.id}: admitted to class {record.device_class}; carry {bundle} back")


@app.command()
def devices(home: Home) -> None:
    """List the devices."""
    from agent.fleet.home import open_home

    table = Table("device", "class", "groups", "enrolled", "certificate", "")
    for record in open_home(home).registry.devices():
        day = datetime.fromtimestamp(record.enrolled_ms / 1000, timezone.utc)
        groups, note = ", ".join(record.groups), "revoked" if record.revoked else ""
        table.add_row(
            record.id, record.device_class, groups, f"{day:%Y-%m-%d}", record.serial[:12], note
        )
    console.print(table)


@app.command()
def revoke(home: Home, device: Annotated[str, typer.Argument(help="Its id.")]) -> None:
    """Refuse a device's next model key and, on the embedded broker, its next connection."""
    from agent.fleet.home import open_home

    open_home(home).registry.revoke(device)
    console.print(f"{device}: revoked")


@app.command()
def grants(home: Home, device: Annotated[str, typer.Argument(help="Its id.")]) -> None:
    """List what the key service answered a device, newest first."""
    from agent.fleet.home import open_home

    table = Table("when (UTC)", "release", "status", "reason")
    for row in open_home(home).registry.grants(device):
        when = datetime.fromtimestamp(row.at_ms / 1000, timezone.utc)
        table.add_row(f"{when:%Y-%m-%d %H:%M:%S}", row.release, str(row.status), row.reason)
    console.print(table)


@app.command("add-key")
def add_key(
    home: Home,
    release: Annotated[str, typer.Argument(help="<class>/<name>/<version>.")],
    file: Annotated[Path, typer.Argument(help="The key file that `vigil release build` wrote.")],
) -> None:
    """Give the controller a release's key, to be wrapped for each device that asks."""
    from agent.errors import ConfigError
    from agent.fleet.home import open_home
    from agent.host.disk import REAL_DISK
    from agent.release.build import DEK_BYTES

    dek = REAL_DISK.read(file, DEK_BYTES)
    if len(dek) != DEK_BYTES:
        raise ConfigError(f"{file}: expected {DEK_BYTES} bytes, found {len(dek)}")
    open_home(home).registry.put_release_key(release, dek)
    console.print(f"{release}: key kept")


@app.command()
def send(  # noqa: PLR0913, PLR0917 - one option each
    home: Home,
    audience: Audience,
    cmd: Annotated[str, typer.Argument(help="The command.")],
    issuer: Issuer,
    key: Keys,
    args: Annotated[str, typer.Option(help="Arguments as a JSON object.")] = "{}",
    policy_version: PolicyVersion = 0,
    counters: Counters = COUNTERS,
    wait: Wait = 30.0,
) -> None:
    """Sign a command with the keys of its approvers, send it and wait for the outcome."""
    from agent.fleet.home import open_home
    from agent.fleet.operators import Order

    order = Order(cmd, _json_object(args), audience)
    _relay(open_home(home), _sign(order, issuer, key, policy_version, counters), wait)


@app.command()
def deploy(  # noqa: PLR0913, PLR0917 - one option each
    home: Home,
    audience: Audience,
    release: Annotated[str, typer.Argument(help="Published: <class>/<name>/<version>.")],
    issuer: Issuer,
    key: Keys,
    policy_version: PolicyVersion = 0,
    counters: Counters = COUNTERS,
    wait: Wait = 900.0,
) -> None:
    """Order devices to install a published release and wait for the outcome."""
    from agent.errors import ConfigError
    from agent.fleet.home import open_home
    from agent.fleet.operators import deploy_order
    from agent.release.repository import Repository

    opened = open_home(home)
    published = Repository(opened.repository).releases(release.split("/", 1)[0])
    wanted = [ref for ref in published if ref.path.startswith(f"models/{release}/")]
    if not wanted:
        labels = ", ".join(ref.label for ref in published) or "nothing"
        raise ConfigError(f"{release}: not published", hint=f"published in its class: {labels}")
    order = deploy_order(wanted[0], audience)
    _relay(opened, _sign(order, issuer, key, policy_version, counters), wait)


def _sign(
    order: Order, issuer: str, keys: list[Path], policy_version: int, counters: Path
) -> SignedCommand:
    from agent.fleet.operators import CommandDesk
    from agent.release.signers import load_signer

    signers = [load_signer(path) for path in keys]
    return CommandDesk(counters.expanduser()).issue(order, issuer, signers, policy_version)


def _relay(opened: FleetHome, command: SignedCommand, wait_s: float) -> None:
    from agent.errors import CommandError
    from agent.fleet.access import DESK
    from agent.fleet.controller import Controller
    from agent.schema.messages import ReplyStatus

    controller = Controller(opened.broker(DESK), services=None)
    controller.start()
    try:
        _hear_from(controller, command.audience)
        reply = controller.ask(command, wait_s)
    finally:
        controller.stop()
    if reply.status is ReplyStatus.FAILED:
        raise CommandError(f"{reply.device}: {reply.cmd}: {reply.message}", code=reply.code)
    console.print(f"{reply.device}: {reply.cmd} {reply.status.value} {reply.data or ''}")


def _hear_from(controller: Controller, audience: str) -> None:
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
        console.print(f"{device}: not heard of yet, or without a policy; sending all the same")


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"expected JSON, found {error}", param_hint="--args") from error
    if not isinstance(value, dict):
        raise typer.BadParameter("expected a JSON object", param_hint="--args")
    return value


def _until_stopped() -> None:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()
