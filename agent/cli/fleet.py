"""`vigil fleet`: the reference controller."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from agent.cli import fleet_rollout
from agent.cli.fleet_commands import add_to

if TYPE_CHECKING:
    pass

app = typer.Typer(
    name="fleet", help="Enrol, serve and command devices (controller).", no_args_is_help=True
)
console = Console(highlight=False)

Home = Annotated[Path, typer.Argument(help="The controller's folder.")]


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
    """Serve keys and blocks and carry out roll-outs, until stopped."""
    from agent.fleet.access import CONTROLLER
    from agent.fleet.blocks import BlockServer
    from agent.fleet.broker import EmbeddedBroker
    from agent.fleet.controller import Controller, Services
    from agent.fleet.home import BROKER, REGISTRY_FILE, members_of, open_home
    from agent.fleet.keys import KeyService
    from agent.fleet.rollout_runner import carrying_out
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
    with carrying_out(home / REGISTRY_FILE, controllers[0]):
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
    from agent.fleet.home import open_home
    from agent.release.build import read_key

    open_home(home).registry.put_release_key(release, read_key(file))
    console.print(f"{release}: key kept")


add_to(app)
app.add_typer(fleet_rollout.app)


def _until_stopped() -> None:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()
