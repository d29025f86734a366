"""`vigil run`: the agent itself, as the service starts it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from agent.config import DEFAULT_PATH

LEVELS = ("debug", "info", "warning", "error")


def run(
    config: Annotated[
        Path, typer.Option("--config", "-c", help="Configuration file.")
    ] = DEFAULT_PATH,
    log_level: Annotated[str, typer.Option(help=f"One of {', '.join(LEVELS)}.")] = "info",
) -> None:
    """Detect, report, and take signed commands and updates until stopped."""
    from agent.app.service import serve

    if log_level not in LEVELS:
        raise typer.BadParameter(f"expected one of {', '.join(LEVELS)}", param_hint="--log-level")
    sys.exit(serve(config, log_level))
