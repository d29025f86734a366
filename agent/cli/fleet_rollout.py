"""`vigil fleet rollout`: staged roll-outs, from the plan to the last device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from agent.cli.fleet_commands import COUNTERS, Counters, Home, Issuer, Keys, PolicyVersion
from agent.cli.fleet_rollout_tables import device_table, overview, told_of
from agent.cli.output import AsJson, mention, print_json, tell, writable, write_file
from agent.host.words import counted

if TYPE_CHECKING:
    from agent.fleet.home import FleetHome
    from agent.fleet.rollout_plan import Plan
    from agent.fleet.rollout_store import RolloutStore
    from agent.schema.manifest import ReleaseRef

app = typer.Typer(
    name="rollout", help="Bring a release to many devices, wave by wave.", no_args_is_help=True
)
console = Console(highlight=False)

PlanFile = Annotated[Path, typer.Argument(help="The plan (YAML).")]
Name = Annotated[str, typer.Argument(help="The plan's name.")]
Commands = Annotated[Path, typer.Option(help="Folder of the signed commands.")]


@app.command()
def sign(  # noqa: PLR0913, PLR0917 - one option each
    home: Home,
    plan: PlanFile,
    issuer: Issuer,
    key: Keys,
    out: Annotated[Path, typer.Option(help="Folder to make, for the next approver.")],
    wave: Annotated[int, typer.Option(min=0, help="Only this wave, from 1; 0 for all.")] = 0,
    hours: Annotated[
        float, typer.Option(help="How long devices accept the commands.", min=0.1, max=24.0)
    ] = 24.0,
    policy_version: PolicyVersion = 0,
    counters: Counters = COUNTERS,
    as_json: AsJson = False,
) -> None:
    """Sign a deploy command for every device of a plan, or of one wave."""
    from agent.errors import ConfigError
    from agent.fleet.operators import CommandDesk
    from agent.fleet.rollout_commands import Approval, sign_commands
    from agent.release.signers import load_signer

    opened = _open(home)
    read = _plan(plan)
    found = _waves(opened, read, plan)
    devices = [device for device, number in found.items() if wave in {0, number + 1}]
    if not devices:
        hint = f"it has {counted(len(read.waves), 'wave')}; earlier ones may reach everybody"
        raise ConfigError(f"{plan}: wave {wave} reaches no further device", hint=hint)
    signers = [load_signer(path) for path in key]
    approval = Approval(issuer, signers, policy_version, int(hours * 3600))
    desk = CommandDesk(counters.expanduser())
    sign_commands(out, desk, _published(opened, read), devices, approval)
    tell(
        {"commands": str(out), "devices": devices},
        f"{out}: {counted(len(devices), 'command')} signed; let others approve them",
        as_json=as_json,
    )


@app.command()
def approve(
    commands: Annotated[Path, typer.Argument(help="Folder of the signed commands.")],
    key: Annotated[Path, typer.Option(help="Your private key.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Read what a folder of commands would do, and add your signature to each."""
    from agent.fleet.operators import describe
    from agent.fleet.rollout_commands import approve_commands, read_commands
    from agent.release.signers import load_signer

    found = read_commands(commands)
    for command in found.values():
        mention(describe(command), as_json=as_json)
    if not yes:
        typer.confirm(f"Sign all {len(found)}?", abort=True, err=as_json)
    approve_commands(found, load_signer(key))
    tell(
        {"commands": str(commands), "signed": len(found)},
        f"{commands}: {counted(len(found), 'command')} signed",
        as_json=as_json,
    )


@app.command()
def simulate(
    home: Home,
    plan: PlanFile,
    takes: Annotated[int, typer.Option(help="Seconds a device takes.", min=1)] = 120,
    failing: Annotated[
        int, typer.Option(min=0, max=100, help="Percent of the devices that fail.")
    ] = 0,
    offline: Annotated[
        int, typer.Option(min=0, max=100, help="Percent of the devices that are away.")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Tell what would happen, if so many percent of the devices failed or were away; nobody is asked."""
    from dataclasses import asdict

    from agent.fleet.rollout_simulation import Assumptions, simulate
    from agent.host.clock import wall_ms

    read = _plan(plan)
    waves = _waves(_open(home), read, plan)
    story = simulate(read, waves, Assumptions(takes, failing, offline), wall_ms())
    if as_json:
        print_json([asdict(moment) for moment in story])
        return
    table = Table("after", "wave", "verdict", f"asked of {len(waves)}", "why")
    for one in story:
        table.add_row(f"{one.at_s} s", str(one.wave), one.verdict, str(one.asked), one.reason)
    console.print(table)


@app.command()
def start(home: Home, plan: PlanFile, commands: Commands, as_json: AsJson = False) -> None:
    """Begin a roll-out; `vigil fleet serve` carries it out."""
    from agent.fleet.rollout_rules import Standing
    from agent.fleet.rollout_store import Rollout
    from agent.host.clock import wall_ms

    opened, read = _open(home), _plan(plan)
    waves, release = _waves(opened, read, plan), _published(opened, read)
    now_ms = wall_ms()
    given = _commands(opened, commands, release.path, release.sha256, list(waves))
    rollout = Rollout(
        read.name, read, release.path, release.sha256, Standing.RUNNING, "begins", now_ms
    )
    _store(home).create(rollout, waves, given)
    tell(
        {"name": read.name, "devices": len(waves), "commands": len(given)},
        f"{read.name}: begun for {counted(len(waves), 'device')}, {counted(len(given), 'command')} at hand",
        as_json=as_json,
    )


@app.command()
def add(home: Home, name: Name, commands: Commands, as_json: AsJson = False) -> None:
    """Give a roll-out further commands, for its next wave or in the place of expired ones."""
    store, opened = _store(home), _open(home)
    rollout = store.rollout(name)
    devices = [row.device for row in store.devices(name)]
    given = _commands(opened, commands, rollout.path, rollout.sha256, devices)
    added = store.add_commands(name, given)
    tell(
        {"name": name, "commands": added},
        f"{name}: new commands for {counted(added, 'device')}",
        as_json=as_json,
    )


@app.command()
def status(
    home: Home,
    name: Annotated[str, typer.Argument(help="The plan's name; all roll-outs without.")] = "",
    as_json: AsJson = False,
) -> None:
    """Show where roll-outs are, and every device of one."""
    store = _store(home)
    chosen = [store.rollout(name)] if name else store.rollouts()
    if as_json:
        told = [told_of(one, store.devices(one.name)) for one in chosen]
        print_json(told[0] if name else told)
        return
    console.print(overview(store, chosen))
    if name:
        console.print(device_table(store.devices(name)))


@app.command()
def report(
    home: Home,
    name: Name,
    out: Annotated[
        Path, typer.Option(dir_okay=False, callback=writable, help="HTML file to write.")
    ],
    as_json: AsJson = False,
) -> None:
    """Write a roll-out's report with its curves: one HTML file that needs nothing else."""
    from agent.fleet.rollout_report import report

    store = _store(home)
    page = report(store.rollout(name), store.devices(name))
    write_file(out, page.encode())
    tell({"name": name, "file": str(out)}, f"{out}: written", as_json=as_json)


@app.command()
def pause(home: Home, name: Name, as_json: AsJson = False) -> None:
    """Ask no further device until `resume`; those at work go on."""
    _order(home, name, "pause", as_json=as_json)


@app.command()
def resume(home: Home, name: Name, as_json: AsJson = False) -> None:
    """Go on with a paused roll-out."""
    _order(home, name, "resume", as_json=as_json)


@app.command()
def abort(home: Home, name: Name, as_json: AsJson = False) -> None:
    """End a roll-out: no further device is asked; those at work go on."""
    _order(home, name, "abort", as_json=as_json)


def _order(home: Path, name: str, order: str, *, as_json: bool) -> None:
    from agent.errors import InUseError
    from agent.fleet.rollout_rules import moved
    from agent.host.clock import wall_ms

    store = _store(home)
    before = store.rollout(name).standing
    after = moved(before, order)
    if not store.move(name, before, after, f"{order} ordered by a person", wall_ms()):
        raise InUseError(f"roll-out {name}: it changed at the same moment", hint="look, and repeat")
    tell({"name": name, "standing": after.value}, f"{name}: {after.value}", as_json=as_json)


def _open(home: Path) -> FleetHome:
    from agent.fleet.home import open_home

    return open_home(home)


def _store(home: Path) -> RolloutStore:
    from agent.fleet.rollout_store import RolloutStore

    return RolloutStore(_open(home).place)


def _plan(path: Path) -> Plan:
    from agent.fleet.rollout_plan import PLAN_LIMIT, read_plan
    from agent.host.disk import REAL_DISK

    return read_plan(REAL_DISK.read(path, PLAN_LIMIT).decode(errors="replace"), str(path))


def _waves(opened: FleetHome, plan: Plan, path: Path) -> dict[str, int]:
    from agent.fleet.rollout_plan import waves_of

    wanted = plan.release.split("/", 1)[0]
    members = {
        record.id: frozenset(record.groups)
        for record in opened.registry.devices()
        if record.device_class == wanted and not record.revoked
    }
    return waves_of(plan, members, str(path))


def _published(opened: FleetHome, plan: Plan) -> ReleaseRef:
    from agent.cli.fleet_releases import published_release

    return published_release(opened, plan.release)


def _commands(
    opened: FleetHome, folder: Path, path: str, sha256: str, devices: list[str]
) -> dict[str, Any]:
    from agent.cli.fleet_releases import published_policy
    from agent.fleet.rollout_commands import check_authorised, for_devices, read_commands
    from agent.host.clock import wall_ms

    now_s = wall_ms() // 1000
    found = for_devices(read_commands(folder), path, sha256, devices, now_s)
    policy = published_policy(opened)
    if policy is not None:
        check_authorised(found, policy, now_s)
    return found
