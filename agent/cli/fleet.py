"""`vigil fleet`: the reference controller."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from agent.cli import (
    fleet_database,
    fleet_examples,
    fleet_look,
    fleet_report,
    fleet_rollout,
    fleet_serve,
)
from agent.cli.fleet_commands import add_to
from agent.cli.output import AsJson, print_json, tell
from agent.host.clock import utc

if TYPE_CHECKING:
    from agent.fleet.registry import DeviceRecord

app = typer.Typer(
    name="fleet", help="Enrol, serve and command devices (controller).", no_args_is_help=True
)
console = Console(highlight=False)

Home = Annotated[Path, typer.Argument(help="The controller's folder.")]


@app.command()
def init(  # noqa: PLR0913, PLR0917 - one option each
    home: Home,
    repository: Annotated[
        Path,
        typer.Option(help="Folder of the release repository.", exists=True, file_okay=False),
    ],
    host: Annotated[str, typer.Option(help="Broker's name or address, as devices reach it.")],
    port: Annotated[int, typer.Option(help="Broker's port.", min=1, max=65535)] = 8883,
    bulk_port: Annotated[
        int,
        typer.Option(
            help="Port of a second mosquitto for transfers; 0 for none.", min=0, max=65535
        ),
    ] = 0,
    enrol_port: Annotated[
        int,
        typer.Option(
            help="Port where devices enrol over HTTPS; 0 for by bundle only.", min=0, max=65535
        ),
    ] = 0,
    certificate_days: Annotated[
        int,
        typer.Option(
            help="How long a device's certificate is good; it renews it.", min=1, max=3650
        ),
    ] = 90,
    database: Annotated[
        str, typer.Option(help="URL of a PostgreSQL database; a file in HOME without.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Make a fleet: authority, certificates, registry and mosquitto's configuration."""
    from agent.fleet.home import FLEET_SCHEMA, FleetConfig, create_home

    config = FleetConfig(
        schema=FLEET_SCHEMA,
        broker_host=host,
        broker_port=port,
        repository=str(repository.resolve()),
        bulk_port=bulk_port,
        enrol_port=enrol_port,
        certificate_days=certificate_days,
        database=database,
    )
    create_home(home, config).registry.close()
    settings = f"{home}/broker/mosquitto.conf"
    tell(
        {"home": str(home), "broker_settings": settings},
        f"{home}: made; keep {home}/ca from everybody else",
        f"start the broker as this user: mosquitto -c {settings}",
        as_json=as_json,
    )


@app.command("enrol-token")
def enrol_token(  # noqa: PLR0913, PLR0917 - one option each
    home: Home,
    device: Annotated[str, typer.Argument(help="Id of the new device.")],
    device_class: Annotated[str, typer.Option("--class", help="Its class.")],
    out: Annotated[Path, typer.Option(help="Bundle folder to make and carry to the device.")],
    group: Annotated[list[str], typer.Option(help="A group of it; repeatable.")] = [],  # noqa: B006
    hours: Annotated[
        float, typer.Option(help="How long the token is good.", min=0.1, max=8760)
    ] = 168.0,
    as_json: AsJson = False,
) -> None:
    """Invite a device: make the bundle that `vigil enroll` takes, with a one-time token."""
    from agent.cli.fleet_releases import check_class
    from agent.cli.fleet_serve import site_of
    from agent.fleet.enrolment import invite
    from agent.fleet.home import open_home
    from agent.fleet.tokens import Invitation

    opened = open_home(home)
    check_class(opened, device_class)
    invitation = Invitation(device, device_class, tuple(group))
    life = timedelta(hours=hours)
    invite(out, opened.registry, opened.authority, invitation, site_of(opened), life=life)
    lines = [f"{out}: carry it to the device and run `vigil enroll --bundle` there"]
    ticket = f"{out}/ticket" if opened.config.enrol_port else None
    if ticket:
        lines.append(f"or only {ticket}, for `vigil enroll --ticket`; it is as good as a password")
    document = {"device": device, "class": device_class, "bundle": str(out), "ticket": ticket}
    tell(document, *lines, as_json=as_json)


@app.command()
def admit(
    home: Home,
    bundle: Annotated[Path, typer.Argument(help="Bundle from the device.")],
    as_json: AsJson = False,
) -> None:
    """Admit a device whose bundle came back with its request."""
    from agent.fleet import enrolment
    from agent.fleet.home import open_home

    opened = open_home(home)
    record = enrolment.admit(bundle, opened.registry, opened.authority, life=opened.life)
    told = opened.write_access()
    tell(
        {**_told(record), "broker_told": told},
        f"{record.id}: admitted to class {record.device_class}; carry {bundle} back",
        *_untold(told),
        as_json=as_json,
    )


@app.command()
def devices(home: Home, as_json: AsJson = False) -> None:
    """List the devices."""
    from agent.fleet.home import open_home

    records = open_home(home).registry.devices()
    if as_json:
        print_json([_told(record) for record in records])
        return
    table = Table("device", "class", "groups", "enrolled", "certificate", "standing")
    for record in records:
        day = utc(record.enrolled_ms)
        groups, note = ", ".join(record.groups), "revoked" if record.revoked else ""
        table.add_row(
            record.id, record.device_class, groups, f"{day:%Y-%m-%d}", record.serial[:12], note
        )
    console.print(table)


def _told(record: DeviceRecord) -> dict[str, Any]:
    return {
        "device": record.id,
        "class": record.device_class,
        "groups": record.groups,
        "enrolled_ms": record.enrolled_ms,
        "certificate": record.serial,
        "revoked": record.revoked,
    }


@app.command()
def revoke(
    home: Home,
    device: Annotated[str, typer.Argument(help="Its id.")],
    as_json: AsJson = False,
) -> None:
    """Refuse a device's next model key, certificates and invitations: it may do nothing more on the broker."""
    from agent.fleet.home import open_home

    opened = open_home(home)
    registered = opened.registry.revoke(device)
    told = opened.write_access()
    document = {"device": device, "revoked": registered, "broker_told": told}
    line = "revoked" if registered else "not registered yet; its invitation is void"
    tell(document, f"{device}: {line}", *_untold(told), as_json=as_json)


@app.command()
def grants(
    home: Home,
    device: Annotated[str, typer.Argument(help="Its id.")],
    as_json: AsJson = False,
) -> None:
    """List what the key service answered a device, newest first."""
    from agent.fleet.home import open_home

    registry = open_home(home).registry
    rows = registry.grants(registry.known(device).id)
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    table = Table("when (UTC)", "release", "status", "reason")
    for row in rows:
        when = utc(row.at_ms)
        table.add_row(f"{when:%Y-%m-%d %H:%M:%S}", row.release, str(row.status), row.reason)
    console.print(table)


@app.command("add-key")
def add_key(
    home: Home,
    release: Annotated[str, typer.Argument(help="<class>/<name>/<version>.")],
    file: Annotated[Path, typer.Argument(help="The key file that `vigil release build` wrote.")],
    as_json: AsJson = False,
) -> None:
    """Give the controller a release's key, to be wrapped for each device that asks."""
    from agent.cli.fleet_releases import find_release
    from agent.fleet.home import open_home
    from agent.release.build import read_key

    opened = open_home(home)
    published, _ = find_release(opened, release)
    opened.registry.put_release_key(release, read_key(file))
    document = {"release": release, "published": bool(published)}
    later = [] if published else ["it is not published yet: is the name right?"]
    tell(document, f"{release}: key kept", *later, as_json=as_json)


add_to(app)
fleet_look.add_to(app)
fleet_examples.add_to(app)
app.command()(fleet_serve.serve)
app.command()(fleet_database.database)
app.command()(fleet_report.report)
app.add_typer(fleet_rollout.app)


def _untold(told: bool) -> list[str]:
    return (
        [] if told else ["no broker runs here as this user: have it read its files again (SIGHUP)"]
    )
