"""The agent as a service: from its configuration file to its exit status."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import closing
from functools import partial
from pathlib import Path

from agent.app.agent import Agent
from agent.app.config_files import settle_config
from agent.app.lifecycle import EXIT_RELOAD
from agent.config import DEFAULT_PATH, load_config
from agent.config.settings import Settings
from agent.doctor.examination import ask_doctor
from agent.errors import VigilError
from agent.host.alone import Alone
from agent.host.cgroup import settle
from agent.host.heap import keep_little
from agent.host.logbook import Logbook
from agent.host.logs import set_up_logs
from agent.update.selfupdate.launcher import AGAIN
from agent.update.selfupdate.slots import own_slots


def serve(config: Path = DEFAULT_PATH, log_level: str = "info") -> int:
    """Run the agent; return its exit status, or begin anew in this process with other settings.

    Raises:
        VigilError: The agent cannot run.
    """
    keep_little()
    set_up_logs(log_level)
    # It says "no signature" of every key that was not needed.
    logging.getLogger("tuf").setLevel(logging.WARNING)
    settle()
    os.umask(0o077)  # also for what SQLite creates
    logbook = Logbook()
    logging.getLogger().addHandler(logbook)
    status = _run(config, logbook)
    if status == EXIT_RELOAD:
        # The same process id and no pause: for a service manager the service only reloads.
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - itself
    slots = own_slots(os.environ)
    if status == AGAIN and slots is not None and "VIGIL_WATCHED" not in os.environ:
        os.execv(slots.launcher, [str(slots.launcher), *sys.argv[1:]])  # noqa: S606 - as above
    return status


def _run(config: Path, logbook: Logbook) -> int:
    # Before anything is counted or written: a second agent must leave the first one's trial alone.
    with closing(Alone(Path(load_config(config).state_dir))):
        settle_config(config)
        settings = Settings(config)
        settings.begin()
        try:
            return Agent(settings, logbook, partial(ask_doctor, config)).run()
        except VigilError as error:
            if settings.trial is None:
                raise
            settings.give_up(error)
            return EXIT_RELOAD
