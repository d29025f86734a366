"""A device that reports, as far as the tests of telemetry need one."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from agent.control.link import Link
from agent.schema.messages import State
from agent.schema.reporting import OutboxConfig
from agent.telemetry.meters import Meters
from agent.telemetry.outbox import Outbox
from agent.telemetry.reporter import Reporter, Sources
from agent.telemetry.survey import Ports, Subject, Survey
from tests.control.world import DEVICE, TOPICS, plain

if TYPE_CHECKING:
    from pathlib import Path

    from tests.parts.broker import Broker


class Device:
    """Reporter, outbox and link of one device; its `state` is set by the test."""

    def __init__(self, broker: Broker, folder: Path, *, interval_s: float = 3600.0) -> None:
        self.state = State(v=1, device=DEVICE, online=True, at_ms=1)
        self.outbox = Outbox(folder / "outbox.db", OutboxConfig())
        self.meters = Meters()
        self.link = Link(plain(broker), TOPICS)
        ports = Ports(worker_pid=os.getpid, link=lambda: self.link.quality)
        survey = Survey(Subject(DEVICE, folder, interval_s), self.meters, self.outbox, ports)
        self._stop = threading.Event()
        sources = Sources(lambda: self.state, survey)
        self.reporter = Reporter(TOPICS, self.link, self.outbox, sources, interval_s)
        self._thread = threading.Thread(target=self.reporter.run, args=(self._stop,))

    def start(self) -> None:
        self.link.start()
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(60)
        self.link.stop(1.0)
        self.outbox.close()
