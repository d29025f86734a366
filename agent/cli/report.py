"""`vigil report`: what the device kept of the last days, as one HTML file with charts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agent.config import DEFAULT_PATH


def report(
    out: Annotated[Path, typer.Option(help="HTML file to write.")],
    days: Annotated[
        int, typer.Option(help="How many days, today among them.", min=1, max=400)
    ] = 30,
    config: Annotated[
        Path, typer.Option("--config", "-c", help="Configuration file.")
    ] = DEFAULT_PATH,
) -> None:
    """Tell of a month: availability, speed, temperature, drift of each camera, objects, updates."""
    from agent.app.diagnostics import LEDGER
    from agent.app.report_page import Month, report_page
    from agent.cli.output import write_file
    from agent.config import load_config
    from agent.errors import StorageError
    from agent.host.clock import wall_ms
    from agent.telemetry.days import FOLDER, date_of, read_days
    from agent.trust.audit import read_trail

    found = load_config(config)
    state, now_ms = Path(found.state_dir), wall_ms()
    kept, unread = read_days(state / FOLDER, date_of(now_ms), days)
    if not kept and not unread:
        message = f"{state / FOLDER}: nothing is kept of the last {days} days"
        hint = "an agent that runs keeps its first quarter of an hour then; or ask for more --days"
        raise StorageError(message, code="storage.missing", hint=hint)
    record = read_trail(state / LEDGER).rows
    page = report_page(Month(found.device.id, now_ms, days, kept, record, unread))
    write_file(out, page.encode())
    typer.echo(f"{out}: {len(kept)} of {days} days")
