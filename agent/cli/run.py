"""`vigil run`: the agent itself, as the service starts it."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from agent.config import DEFAULT_PATH, load_config
from agent.errors import VigilError
from agent.host.logbook import Logbook

LEVELS = ("debug", "info", "warning", "error")


def run(
    config: Annotated[
        Path, typer.Option("--config", "-c", help="Configuration file.")
    ] = DEFAULT_PATH,
    log_level: Annotated[str, typer.Option(help=f"One of {', '.join(LEVELS)}.")] = "info",
) -> None:
    """Detect, report, and take signed commands and updates until stopped."""
    from agent.host.cgroup import settle
    from agent.host.logs import set_up_logs

    if log_level not in LEVELS:
        raise typer.BadParameter(f"expected one of {', '.join(LEVELS)}", param_hint="--log-level")
    set_up_logs(log_level)
    # It says "no signature" of every key that was not needed.
    logging.getLogger("tuf").setLevel(logging.WARNING)
    settle()
    os.umask(0o077)  # also for what SQLite creates
    logbook = Logbook()
    logging.getLogger().addHandler(logbook)
    sys.exit(_run(config, logbook))


def _run(config: Path, logbook: Logbook) -> int:
    """Run the agent; return its exit status, or begin anew in this process with other settings."""
    from agent.app import Agent
    from agent.app.config_files import settle_config
    from agent.app.lifecycle import EXIT_RELOAD
    from agent.config.settings import Settings
    from agent.doctor.examination import ask_doctor
    from agent.host.alone import Alone
    from agent.update.selfupdate.launcher import AGAIN
    from agent.update.selfupdate.slots import own_slots

    # Before anything is counted or written: a second agent must leave the first one's trial alone.
    with closing(Alone(Path(load_config(config).state_dir))):
        settle_config(config)
        settings = Settings(config)
        settings.begin()
        try:
            status = Agent(settings, logbook, partial(ask_doctor, config)).run()
        except VigilError as error:
            if settings.trial is None:
                raise
            settings.give_up(error)
            status = EXIT_RELOAD
    if status == EXIT_RELOAD:
        # The same process id and no pause: for a service manager the service only reloads.
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - itself
    slots = own_slots(os.environ)
    if status == AGAIN and slots is not None and "VIGIL_WATCHED" not in os.environ:
        os.execv(slots.launcher, [str(slots.launcher), *sys.argv[1:]])  # noqa: S606 - as above
    return status
