"""The console as a part of the agent: `start()` serves in a thread of its own, `stop()` ends it.

Example:
    console = Console(config.console, Sources(cameras, status, grab))
    console.start()
    print(console.url)
    console.events.add(event)
    console.stop()
"""

from __future__ import annotations

import logging

from agent.console.history import POINTS, Point, point_of
from agent.console.journal import LogMemory
from agent.console.live import Viewers
from agent.console.places import MAX_PLACES_BYTES, PLACES_PATH
from agent.console.routes import Memory, application
from agent.console.sources import Recent, Sources
from agent.schema.config import ConsoleConfig
from agent.schema.drift import DriftNotice
from agent.schema.events import Event
from agent.schema.governor import GovernorMove
from agent.schema.messages import Telemetry, UpdateReport
from agent.web.serving import PageServer

log = logging.getLogger(__name__)
REMEMBERED_EVENTS = 200
REMEMBERED_UPDATES = 20
REMEMBERED_MOVES = 20
REMEMBERED_DRIFTS = 50


class Console:
    """The local web page.

    Args:
        config: Paths in it are used as they are: absolute, or relative to the working directory.
        sources: What the page shows.

    Attributes:
        events: Object events; `add` them from any thread.
        updates: How updates ended; `add` from any thread.
        moves: Steps of the governor; `add` from any thread.
        drifts: Cameras that drifted, or do so no more; `add` from any thread.
        log: The log's newest lines; `agent.app` hangs it into the log.
    """

    def __init__(self, config: ConsoleConfig, sources: Sources) -> None:
        self.events: Recent[Event] = Recent(REMEMBERED_EVENTS)
        self.updates: Recent[UpdateReport] = Recent(REMEMBERED_UPDATES)
        self.moves: Recent[GovernorMove] = Recent(REMEMBERED_MOVES)
        self.drifts: Recent[DriftNotice] = Recent(REMEMBERED_DRIFTS)
        self.log = LogMemory()
        self._history: Recent[Point] = Recent(POINTS)
        self._sources = sources
        self._viewers = Viewers()
        self._server = PageServer(config, (PLACES_PATH, MAX_PLACES_BYTES))

    def measured(self, telemetry: Telemetry) -> Telemetry:
        """Remember a measurement for the charts and return it; from any thread."""
        self._history.add(point_of(telemetry))
        return telemetry

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
        memory = Memory(self.events, self.updates, self.moves, self.drifts, self._history, self.log)
        self._server.start(lambda access: application(self._sources, memory, self._viewers, access))
        log.info("console: %s", self.url)

    def stop(self) -> None:
        """End live views, answer what is under way and close; may be called twice or before `start`."""
        self._viewers.stopping = True
        self._server.stop()
