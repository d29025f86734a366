"""The local page as a part: a port that somebody else has must not keep a camera from being watched."""

from __future__ import annotations

import logging

from agent.console.server import Console
from agent.errors import ConfigError

log = logging.getLogger(__name__)
PORT_IN_USE = "console.port_in_use"


class Page:
    """Starts the console and lets it listen to the log, or goes on without it when its port is taken."""

    name = "page"

    def __init__(self, console: Console) -> None:
        self._console = console

    def start(self) -> None:
        """Start serving.

        Raises:
            ConfigError: The page would be exposed, or its files cannot be read.
        """
        logging.getLogger().addHandler(self._console.log)
        try:
            self._console.start()
        except ConfigError as error:
            if error.code != PORT_IN_USE:
                raise
            logging.getLogger().removeHandler(self._console.log)
            log.error("the agent runs without its page: %s", error.diagnostics())

    def stop(self) -> None:
        """Stop serving; idempotent."""
        self._console.stop()
        logging.getLogger().removeHandler(self._console.log)
