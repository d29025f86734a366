"""`vigil status`: what the agent on this machine does right now."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.config import DEFAULT_PATH

if TYPE_CHECKING:
    from rich.table import Table

    from agent.schema.messages import Telemetry
    from agent.schema.shadow import ShadowProgress
    from agent.telemetry.status_file import Status


def status(
    config: Annotated[
        Path, typer.Option("--config", "-c", help="Configuration file.")
    ] = DEFAULT_PATH,
    json: Annotated[bool, typer.Option("--json", help="Print the status file as it is.")] = False,
) -> None:
    """Show model, update, cameras, speed and connection of the running agent."""
    from rich.console import Console

    from agent.config import load_config
    from agent.schema.document import to_json
    from agent.telemetry.status_file import read_status

    found = read_status(Path(load_config(config).runtime_dir))
    if json:
        typer.echo(to_json(found).decode())
        return
    console = Console()
    console.print(_overview(found))
    console.print(_cameras(found.telemetry))
    if found.telemetry.stages:
        console.print(_stages(found.telemetry))


def _overview(found: Status) -> Table:
    state, measured = found.state, found.telemetry
    update = state.last_update
    temperature_c = measured.temperature_c
    rows = {
        "device": f"{state.device} ({state.profile})",
        "agent": f"{state.agent}, process {found.pid}, worker {found.worker_pid or 'none'}",
        "model": f"{state.release or 'none'} {state.variant or ''}".rstrip(),
        "pipeline": " ".join(filter(None, (state.pipeline, state.problem))),
        "update": _update(found),
        "last update": f"{update.release} {update.outcome.value} {update.reason}" if update else "",
        "broker": found.link,
        "spool": f"{measured.outbox_messages} waiting, {measured.outbox_dropped} dropped",
        "speed": f"{measured.fps:.1f} frames/s, {measured.worker_restarts} worker restarts",
        "memory": f"{measured.control_pss_mb:.0f} MB + worker {measured.worker_pss_mb:.0f} MB",
        "rung": _rung(found),
        "pace": _pace(found),
        "drift": _drift(found.telemetry),
        "golden set": state.unproven,
        **({"shadow": _shadow(measured.shadow)} if measured.shadow else {}),
        "temperature": "unknown" if temperature_c is None else f"{temperature_c:.0f} °C",
    }
    table = _table("", "")
    table.show_header = False
    for name, text in rows.items():
        if text:
            _add(table, name, text)
    return table


def _update(found: Status) -> str:
    progress = found.state.progress
    if progress is None:
        return found.state.phase.value
    text = f"{found.state.phase.value}, {progress.done / 1e6:.1f} of {progress.total / 1e6:.1f} MB"
    return f"{text}, {progress.waiting}" if progress.waiting else text


def _rung(found: Status) -> str:
    state, report = found.state, found.telemetry.governor
    if report is None:
        return "none"
    throttled = f"; {', '.join(report.throttled)}" if report.throttled else ""
    place = f"{report.index + 1} of {report.rungs}"
    return f"{state.rung} ({place}): {state.rung_reason}{throttled}"


def _pace(found: Status) -> str:
    report = found.telemetry.pace
    return found.state.slow or (report.state if report else "not measured: no frames came yet")


def _drift(measured: Telemetry) -> str:
    if not measured.drift:
        return "not judged: the release has no baseline, or no frames came yet"
    return ", ".join(f"{one.name} {one.cause or one.state}" for one in measured.drift)


def _shadow(run: ShadowProgress) -> str:
    agreement = "" if run.agreement is None else f", {run.agreement:.1%} of objects seen by both"
    state = f"ended: {run.end}" if run.end else run.state.value
    if run.left_s is not None:
        state += f", about {run.left_s / 3600:.1f} h left"
    return (
        f"{run.candidate} {run.variant}: {run.frames} of {run.of_frames} frames{agreement}; {state}"
    )


def _cameras(measured: Telemetry) -> Table:
    counted = ("processed", "dropped", "gated", "reconnects")
    table = _table(
        "camera", "status", "fps", "gate", "frames", "dropped", "gated", "reopened", "problem"
    )
    for one in measured.cameras:
        counts = (str(getattr(one, name)) for name in counted)
        _add(table, one.name, one.status, f"{one.fps:.1f}", one.gate or "-", *counts, one.problem)
    return table


def _stages(measured: Telemetry) -> Table:
    table = _table("stage", "p50 ms", "p95 ms", "p99 ms")
    for name, stage in measured.stages.items():
        _add(table, name, *(f"{value:.2f}" for value in (stage.p50, stage.p95, stage.p99)))
    return table


def _table(*columns: str) -> Table:
    from rich.box import SIMPLE
    from rich.table import Table

    # Close together: eighty columns are what a serial console has, and what a pipe is given.
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    for column in columns:
        table.add_column(column)
    return table


def _add(table: Table, *cells: str) -> None:
    from rich.text import Text

    # Text, so that brackets in a problem's description are not taken for markup.
    table.add_row(*(Text(cell) for cell in cells))
