"""`vigil fleet report`: what all devices kept of the last days, as one HTML file with charts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.fleet_commands import COUNTERS, Counters, Home, Issuer, Keys, PolicyVersion
from agent.cli.output import AsJson, tell, writable, write_file
from agent.cli.progress import with_progress
from agent.host.words import counted

if TYPE_CHECKING:
    from agent.fleet.home import FleetHome


def report(  # noqa: PLR0913, PLR0917 - one option each
    home: Home,
    out: Annotated[
        Path, typer.Option(dir_okay=False, callback=writable, help="HTML file to write.")
    ],
    issuer: Issuer,
    key: Keys,
    days: Annotated[
        int, typer.Option(help="How many days, today among them.", min=1, max=400)
    ] = 30,
    group: Annotated[str, typer.Option(help="Only devices of this group.")] = "",
    listen: Annotated[float, typer.Option(help="Seconds to wait to hear of them.", min=0.1)] = 5.0,
    wait: Annotated[float, typer.Option(help="Seconds that a device may take.", min=1)] = 60.0,
    at_once: Annotated[
        int, typer.Option(help="Devices asked at the same time.", min=1, max=256)
    ] = 32,
    policy_version: PolicyVersion = 0,
    counters: Counters = COUNTERS,
    as_json: AsJson = False,
) -> None:
    """Ask every device for its last days and tell of the fleet: what needs attention, uptime, speed, heat, drift, updates."""
    from agent.errors import ConfigError, TransferError
    from agent.fleet.access import DESK
    from agent.fleet.controller import Controller
    from agent.fleet.fleet_report import FleetMonth, fleet_report
    from agent.fleet.home import open_home
    from agent.fleet.operators import CommandDesk
    from agent.fleet.summaries import Asker, heard
    from agent.host.clock import wall_ms
    from agent.models.profiles import load_profiles
    from agent.release.signers import load_signer
    from agent.web.period import Period

    opened = open_home(home)
    names = _members(opened, group)
    if not names:
        raise ConfigError(f"{group or home}: no device is enrolled", code="fleet.nobody")
    signers, desk = [load_signer(path) for path in key], CommandDesk(counters.expanduser())
    period = Period(wall_ms(), days)
    controller = Controller(opened.broker(DESK), None)
    controller.start()
    try:
        online, missing = heard(controller, names, listen)
        asker = Asker(
            controller,
            lambda order: desk.issue(order, issuer, signers, policy_version),
            period,
            wait,
            at_once,
        )
        answers = list(with_progress(asker.ask(online), "devices asked", len(online)))
    finally:
        controller.stop()
        opened.registry.close()
    missing |= {one.device: one.problem for one in answers if one.account is None}
    accounts = [one.account for one in answers if one.account is not None]
    if not accounts:
        raise TransferError(f"no device answered: {_commonest(missing)}", code="transfer.timeout")
    limits_c = {one.name: one.limits.temperature_c for one in load_profiles()}
    title = f"Group {group}" if group else "Fleet"
    page = fleet_report(FleetMonth(title, period, accounts, missing, limits_c))
    write_file(out, page.encode())
    told = {"file": str(out), "answered": len(accounts), "missing": missing}
    lines = [f"{out}: {len(accounts)} of {counted(len(names), 'device')}"]
    lines += [f"no answer of {len(missing)}: {_commonest(missing)}"] if missing else []
    tell(told, *lines, as_json=as_json)


def _members(opened: FleetHome, group: str) -> list[str]:
    records = [one for one in opened.registry.devices() if not one.revoked]
    return [one.id for one in records if not group or group in one.groups]


def _commonest(missing: dict[str, str]) -> str:
    counts = Counter(missing.values()).most_common(3)
    return "; ".join(f"{why} ({count})" for why, count in counts)
