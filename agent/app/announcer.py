"""Tells what happened to whoever is to know of it: the broker, the page, the audit record, the day."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from agent.app.device import Device
from agent.console.server import Console
from agent.drift.judge import DRIFTED
from agent.schema.drift import DriftNotice
from agent.schema.events import Event
from agent.schema.governor import GovernorMove
from agent.schema.messages import UpdateReport
from agent.schema.pace import PaceReport
from agent.telemetry.streams import Streams

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Announcer:
    """Every method from any thread; `console` is asked for when there is something to say."""

    streams: Streams
    device: Device
    console: Callable[[], Console]

    def event(self, event: Event) -> None:
        """Tell of an object."""
        self.streams.event(event)
        self.console().events.add(event)
        self.device.days.event(event)

    def update(self, report: UpdateReport) -> None:
        """Tell how an update ended; after a restart, the last one is told again."""
        self.console().updates.add(report)
        text = f"{report.path} {report.outcome.value} {report.code}"
        self.device.ledger.record_once("update", text, report.at_ms)

    def move(self, move: GovernorMove) -> None:
        """Tell of a step of the governor."""
        self.streams.governor_move(move)
        self.console().moves.add(move)
        self.device.ledger.record("governor", f"{move.origin} -> {move.rung}: {move.cause}")

    def drift(self, notice: DriftNotice) -> None:
        """Tell that a camera drifted, or another cause of it, or that it is over."""
        report = notice.report
        text = f"{report.name} {report.state} {report.cause}".rstrip()
        log.log(_level(is_bad=report.state == DRIFTED), "camera %s", text)
        self.streams.drift(notice)
        self.console().drifts.add(notice)
        self.device.ledger.record("drift", text)

    def pace(self, report: PaceReport) -> None:
        """Tell that inference got slower than in this device's past, or that it is over."""
        text = report.reason or f"as {report.state}"
        log.log(_level(is_bad=bool(report.stage)), "speed: %s", text)
        self.device.ledger.record("pace", text)


def _level(*, is_bad: bool) -> int:
    return logging.WARNING if is_bad else logging.INFO
