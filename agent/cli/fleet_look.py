"""`vigil fleet` for those who look: live, one device, what happened, and tables for other programs."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from agent.cli.output import AsJson, print_json, tell, writable, write_file
from agent.host.words import counted

if TYPE_CHECKING:
    from agent.fleet.controller import Controller
    from agent.fleet.fleet_view import DeviceRow, FleetView
    from agent.fleet.home import FleetHome

console = Console(highlight=False, markup=False)

Home = Annotated[Path, typer.Argument(help="The controller's folder.")]
Listen = Annotated[float, typer.Option(help="Seconds to listen.", min=0.1)]
_CALM = {"online", "offline", "revoked"}
_ROOM = 8  # lines of the screen that are not the table's rows


def watch(
    home: Home,
    seconds: Annotated[float, typer.Option(help="Stop after so many; 0 for never.", min=0)] = 0,
    every: Annotated[float, typer.Option(help="Seconds between two looks.", min=0.2)] = 2.0,
    as_json: AsJson = False,
) -> None:
    """Watch the fleet live: sums, roll-outs, and the devices, those in trouble first. With --json, a line each time."""
    from agent.fleet.rollout_store import RolloutStore

    with _listening(home) as (opened, controller, view):
        store = RolloutStore(opened.place)
        end_s = time.monotonic() + seconds if seconds else float("inf")
        live = Live(console=console, auto_refresh=False)
        with contextlib.nullcontext() if as_json else live, contextlib.suppress(KeyboardInterrupt):
            while True:
                time.sleep(max(0.0, min(every, end_s - time.monotonic())))
                looked = _look(view, store)
                if as_json:
                    print_json(looked)
                else:
                    live.update(_screen(looked, view.rows(), controller), refresh=True)
                if time.monotonic() >= end_s:
                    break
        store.close()


def show(
    home: Home,
    device: Annotated[str, typer.Argument(help="Its id.")],
    listen: Listen = 5.0,
    as_json: AsJson = False,
) -> None:
    """Show one device: what is registered, its last state and measurements, its roll-outs and keys."""
    from agent.errors import TransferError

    with _listening(home, device) as (opened, controller, view):
        record = opened.registry.known(device)
        with contextlib.suppress(TransferError):  # then it has never spoken
            controller.inbox.wait_state(device, lambda _: True, listen)
        told = _device(opened, controller, view.row(record))
    if as_json:
        print_json(told)
        return
    sheet = Table("")
    sheet.add_column(device, overflow="fold")
    for row in _facts(told):
        sheet.add_row(*row)
    console.print(sheet)


def audit(
    home: Home,
    device: Annotated[str, typer.Option(help="Of one device.")] = "",
    hours: Annotated[float, typer.Option(help="Of the last hours; 0 for all.", min=0)] = 0,
    limit: Annotated[int, typer.Option(help="Newest lines at most.", min=1)] = 1000,
    as_json: AsJson = False,
) -> None:
    """Tell what happened: enrolments, certificates, model keys, roll-outs, in the order of time."""
    from agent.fleet.history import history
    from agent.fleet.home import open_home
    from agent.host.clock import utc, wall_ms

    since_ms = wall_ms() - int(hours * 3_600_000) if hours else 0
    opened = open_home(home)
    story = history(opened.place, device, since_ms, limit)
    if device and not story:
        opened.registry.known(device)
    if as_json:
        print_json([asdict(one) for one in story])
        return
    sheet = Table("when (UTC)", "device", "what", "detail")
    for one in story:
        when = utc(one.at_ms)
        sheet.add_row(f"{when:%Y-%m-%d %H:%M:%S}", one.device, one.what, one.detail)
    console.print(sheet)


def export(
    home: Home,
    out: Annotated[Path, typer.Option(callback=writable, help="Folder for the tables.")],
    kind: Annotated[str, typer.Option("--format", help="csv or parquet.")] = "csv",
    listen: Listen = 15.0,
    as_json: AsJson = False,
) -> None:
    """Listen for a while, and write the states and measurements that came as tables."""
    from agent.fleet.export import encode, require
    from agent.schema.messages import State, Telemetry

    require(kind)  # before and not after listening
    came: dict[type[Any], list[Any]] = {State: [], Telemetry: []}
    with _listening(home, hear=lambda message: came.get(type(message), []).append(message)):
        time.sleep(listen)
    written = {}
    for message, name in ((State, "states"), (Telemetry, "telemetry")):
        target = out / f"{name}.{kind}"
        write_file(target, encode(came[message], message, kind))
        written[str(target)] = len(came[message])
    tell(
        written,
        *(f"{path}: {counted(rows, 'row')}" for path, rows in written.items()),
        as_json=as_json,
    )


def pace(home: Home, listen: Listen = 15.0, as_json: AsJson = False) -> None:
    """Listen for a while; show how quick devices that are alike are, for `bench` and `doctor` on a device with --fleet."""
    from agent.host.clock import wall_ms
    from agent.schema.document import to_json
    from agent.schema.pace import PACE_VERSION, STAGES, FleetPaces

    with _listening(home) as (_, _controller, view):
        time.sleep(listen)
        found = FleetPaces(v=PACE_VERSION, at_ms=wall_ms(), paces=view.paces())
    if as_json:
        typer.echo(to_json(found).decode())
        return
    sheet = Table("profile", "release", "variant", "devices", *(f"{one} ms" for one in STAGES))
    for one in found.paces:
        times = (
            f"{one.stages_ms[stage]:.1f}" if stage in one.stages_ms else "" for stage in STAGES
        )
        names = map(_plain, (one.profile, one.release, one.variant))
        sheet.add_row(*names, str(one.devices), *times)
    console.print(sheet)


def add_to(app: typer.Typer) -> None:
    """Add these commands to `vigil fleet`."""
    for command in (watch, show, audit, export, pace):
        app.command()(command)


@contextlib.contextmanager
def _listening(
    home: Path, device: str = "+", hear: Callable[[Any], None] = lambda _: None
) -> Iterator[tuple[FleetHome, Controller, FleetView]]:
    """Hear the fleet, or one device of it, under a name of our own until the block ends; `hear` is told every message."""
    from agent.fleet.access import WATCH
    from agent.fleet.controller import Controller
    from agent.fleet.fleet_view import FleetView
    from agent.fleet.home import open_home

    opened = open_home(home)
    opened.appoint(WATCH)
    controller = Controller(opened.broker(WATCH), None, devices=device, name=WATCH)
    view = FleetView(opened.registry, controller.inbox)
    controller.inbox.observe(lambda _, message: hear(message))
    controller.start()
    try:
        yield opened, controller, view
    finally:
        controller.stop()
        opened.registry.close()


def _look(view: FleetView, store: Any) -> dict[str, Any]:
    from agent.fleet.fleet_view import summary
    from agent.fleet.rollout_rules import Standing

    running = store.rollouts(Standing.RUNNING) + store.rollouts(Standing.PAUSED)
    rollouts = [
        {"name": one.name, "standing": one.standing.value, "reason": one.reason} for one in running
    ]
    return {**summary(view.rows()), "rollouts": rollouts}


def _screen(looked: dict[str, Any], rows: list[DeviceRow], controller: Controller) -> Group:
    sums = ", ".join(f"{count} {name}" for name, count in looked["conditions"].items() if count)
    head = f"{counted(looked['devices'], 'device')}: {sums or 'nobody yet'}"
    if not controller.connected:
        head += " - the broker is away, this is what was last heard"
    waves = [
        f"roll-out {one['name']}: {one['standing']}, {one['reason']}" for one in looked["rollouts"]
    ]
    sheet = Table("device", "groups", "state", "release", "fps", "°C", "problem")
    rows = sorted(rows, key=lambda row: (row.condition.value in _CALM, row.id))
    shown = max(1, console.height - _ROOM - len(waves))
    for row in rows[:shown]:
        fps, heat = (
            f"{value:.1f}" if value is not None else "" for value in (row.fps, row.temperature_c)
        )
        groups = ", ".join(row.groups)
        release, problem = _plain(row.release), _plain(row.problem)
        sheet.add_row(row.id, groups, row.condition.value, release, fps, heat, problem)
    rest = [f"and {len(rows) - shown} more"] if len(rows) > shown else []
    return Group(head, *waves, sheet, *rest)


def _plain(text: str) -> str:
    # Devices choose these texts; what a terminal would obey is not shown.
    return "".join(one if one.isprintable() else "?" for one in text)


def _facts(told: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield a row for each fact, those of a part under its name; what is not so is not mentioned."""
    for name, value in told.items():
        facts = value if isinstance(value, dict) else {"": value}
        for fact, one in facts.items():
            if one not in (None, "", [], {}):
                text = one if isinstance(one, str) else json.dumps(one)
                yield f"{name} {fact}".rstrip(), _plain(text)


def _device(opened: FleetHome, controller: Controller, row: DeviceRow) -> dict[str, Any]:
    import msgspec

    from agent.fleet.rollout_store import RolloutStore

    inbox = controller.inbox
    store = RolloutStore(opened.place)
    places = store.places(row.id, [one.name for one in store.rollouts()])
    store.close()
    told = {
        "condition": row.condition.value,
        "groups": list(row.groups),
        "state": msgspec.to_builtins(inbox.state(row.id)),
        "telemetry": msgspec.to_builtins(inbox.telemetry(row.id)),
        "rollouts": places,
        "grants": [asdict(grant) for grant in opened.registry.grants(row.id, 10)],
    }
    return {name: value for name, value in told.items() if value not in (None, [])}
