"""`vigil run`: the agent itself, as the service starts it."""

from __future__ import annotations

import logging
import os
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
    from agent.app import Agent
    from agent.config import load_config

    if log_level not in LEVELS:
        raise typer.BadParameter(f"expected one of {', '.join(LEVELS)}", param_hint="--log-level")
    logging.basicConfig(
        level=log_level.upper(),
        stream=sys.stderr,
        format="%(asctime)s %(levelname)-7s %(threadName)s %(name)s: %(message)s",
    )
    # It says "no signature" of every key that was not needed.
    logging.getLogger("tuf").setLevel(logging.WARNING)
    os.umask(0o077)  # also for what SQLite creates
    sys.exit(Agent(load_config(config)).run())
