"""`vigil report`: what the device kept of the last days, as one HTML file with charts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agent.cli.output import AsJson, tell, writable, write_file
from agent.config import DEFAULT_PATH


def report(
    out: Annotated[
        Path, typer.Option(dir_okay=False, callback=writable, help="HTML file to write.")
    ],
    days: Annotated[
        int, typer.Option(help="How many days, today among them.", min=1, max=400)
    ] = 30,
    config: Annotated[
        Path, typer.Option("--config", "-c", help="Configuration file.")
    ] = DEFAULT_PATH,
    as_json: AsJson = False,
) -> None:
    """Tell of a month: availability, speed, temperature, drift of each camera, objects, updates."""
    from agent.app.daily import history_of
    from agent.app.report_page import Month, report_page
    from agent.config import load_config
    from agent.errors import StorageError
    from agent.host.clock import wall_ms
    from agent.host.words import counted
    from agent.telemetry.days import FOLDER

    found = load_config(config)
    state, now_ms = Path(found.state_dir), wall_ms()
    history = history_of(found.device.id, state, now_ms, days)
    if not history.days and not history.unread:
        message = f"{state / FOLDER}: nothing is kept of the last {counted(days, 'day')}"
        hint = "an agent that runs keeps its first quarter of an hour then; or ask for more --days"
        raise StorageError(message, code="storage.missing", hint=hint)
    write_file(out, report_page(Month(history, days)).encode())
    kept = len(history.days)
    document = {"file": str(out), "days": days, "kept": kept}
    tell(document, f"{out}: {kept} of {counted(days, 'day')}", as_json=as_json)
