"""The local page as a part: a port that somebody else has must not keep a camera from being watched."""

from __future__ import annotations

import logging
from collections.abc import Callable

from agent.app.shadow import ShadowFindings
from agent.app.standing import Standing
from agent.console.server import Console
from agent.console.sources import Archive, Settings, Sources
from agent.errors import ConfigError
from agent.schema.doctor import DoctorReport
from agent.schema.snapshot import Snapshot
from agent.supervisor.shadow_book import ShadowBook

log = logging.getLogger(__name__)
Doctor = Callable[[], DoctorReport]
PORT_IN_USE = "console.port_in_use"


class Page:
    """Starts the console and lets it listen to the log, or goes on without it when its port is taken."""

    name = "page"

    def __init__(self, console: Console) -> None:
        self.console = console

    def start(self) -> None:
        """Start serving.

        Raises:
            ConfigError: The page would be exposed, or its files cannot be read.
        """
        logging.getLogger().addHandler(self.console.log)
        try:
            self.console.start()
        except ConfigError as error:
            if error.code != PORT_IN_USE:
                raise
            logging.getLogger().removeHandler(self.console.log)
            log.error("the agent runs without its page: %s", error.diagnostics())

    def stop(self) -> None:
        """Stop serving; idempotent."""
        self.console.stop()
        logging.getLogger().removeHandler(self.console.log)


def make_page(
    standing: Standing,
    status: Callable[[], Snapshot],
    archive: Archive,
    settings: Settings,
    shadow: ShadowBook,
    doctor: Doctor | None,
) -> Page:
    """Return the page of this device, not started."""
    config = standing.device.config
    sources = Sources(
        cameras={camera.name: camera for camera in config.cameras},
        status=status,
        grab=standing.supervisor.grab,
        archive=archive,
        settings=settings,
        doctor=doctor,
        shadow=ShadowFindings(shadow, standing.device.id),
    )
    return Page(Console(config.console, sources))
