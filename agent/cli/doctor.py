"""`vigil doctor`: what is wrong with this device, why it matters, and what to type."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.config import DEFAULT_PATH

if TYPE_CHECKING:
    from rich.table import Table

    from agent.schema.config import Config
    from agent.schema.doctor import DoctorReport, Finding

_MARKS = {"ok": ("ok", "green"), "unseen": ("not seen", "blue")}
_MARKS |= {"warning": ("warning", "yellow"), "problem": ("PROBLEM", "red")}


def doctor(
    config: Annotated[
        Path, typer.Option("--config", "-c", help="Configuration file.")
    ] = DEFAULT_PATH,
    fleet: Annotated[
        Path | None, typer.Option(help="What `vigil fleet pace --json` wrote: compare the speed.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    log_level: Annotated[str, typer.Option(help="What else to show.", hidden=True)] = "critical",
) -> None:
    """Examine cameras, model, software, disk, clock, files and broker; exit 1 for warnings, 2 for problems.

    It changes nothing, and works whether the agent runs or not.
    """
    from agent.cli.fleet_pace import read_paces
    from agent.doctor.examination import examine, refused
    from agent.doctor.findings import exit_status
    from agent.errors import ConfigError
    from agent.schema.document import to_json

    logging.basicConfig(level=log_level.upper())
    paces = read_paces(fleet) if fleet else None
    try:
        report = examine(_in_force(config), fleet=paces)
    except ConfigError as error:
        report = refused(error)
    if json:
        typer.echo(to_json(report).decode())
    else:
        _show(report)
    raise typer.Exit(exit_status(report.verdict))


def _in_force(path: Path) -> Config:
    """Return the configuration with what was changed since; the file alone where this user may not see more."""
    from agent.config import load_config
    from agent.config.settings import Settings
    from agent.errors import StorageError

    try:
        return Settings(path).config
    except StorageError:
        return load_config(path)


def _show(report: DoctorReport) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console()
    console.print(_table(report.findings))
    bad = [finding for finding in report.findings if finding.level in {"warning", "problem"}]
    for number, finding in enumerate(bad, 1):
        # Unwrapped: a command that was broken into lines cannot be copied.
        for line in _advice(number, finding):
            console.print(Text(line), soft_wrap=True)
    mark, colour = _MARKS[report.verdict.value]
    console.print(Text(f"{report.device or 'device'}: {mark}", style=f"bold {colour}"))


def _table(findings: list[Finding]) -> Table:
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    table = Table("examined", "", "found", box=SIMPLE)
    for finding in findings:
        mark, colour = _MARKS[finding.level.value]
        table.add_row(Text(finding.check), Text(mark, style=colour), Text(finding.what))
    return table


def _advice(number: int, finding: Finding) -> list[str]:
    return [
        f"{number}. {finding.check}: {finding.what} [{finding.code}]",
        f"   matters: {finding.why}",
        f"   fix:     {finding.fix}",
        "",
    ]
