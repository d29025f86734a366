"""The fleet's page as a part of `vigil fleet serve`: it only shows, and nothing on it commands a device.

Example:
    page = FleetPage(config, home.folder, Sources(controller, home.registry, store))
    page.start()
    print(page.url)
    page.stop()
"""

from __future__ import annotations

from pathlib import Path

from agent.fleet.fleet_view import FleetView
from agent.fleet.home import FleetPageConfig
from agent.fleet.page_routes import Sources, application
from agent.schema.config import ConsoleConfig
from agent.web.serving import PageServer


class FleetPage:
    """The web page of one controller; it listens to the inbox from when it is made.

    Args:
        config: The `page` section.
        folder: The controller's, that paths in it are relative to.
        sources: What the page shows.
    """

    def __init__(self, config: FleetPageConfig, folder: Path, sources: Sources) -> None:
        self._sources = sources
        self._view = FleetView(sources.registry, sources.controller.inbox)
        self._server = PageServer(_settings(config, folder), section="page")

    @property
    def url(self) -> str:
        """Where the page is; the port is known once started."""
        return self._server.url

    def start(self) -> None:
        """Listen and serve.

        Raises:
            ConfigError: Exposed without token or TLS, unreadable token or certificate, address or port
                not available.
        """
        self._server.start(lambda access: application(self._sources, self._view, access))

    def stop(self) -> None:
        """Answer what is under way and close; may be called twice or before `start`."""
        self._server.stop()


def _settings(config: FleetPageConfig, folder: Path) -> ConsoleConfig:
    def placed(path: str | None) -> str | None:
        return str(folder / path) if path else None

    return ConsoleConfig(
        host=config.host,
        port=config.port,
        token_file=placed(config.token_file),
        tls_cert=placed(config.tls_cert),
        tls_key=placed(config.tls_key),
    )
