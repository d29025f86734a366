"""Results of the worker on their way out: events through the outbox, detections straight to the link."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec import UNSET

from agent.errors import TransferError
from agent.schema.document import to_json
from agent.schema.events import Event, ZoneEvent
from agent.schema.messages import MESSAGE_VERSION, Detections
from agent.telemetry.spool import Priority

if TYPE_CHECKING:
    from agent.schema.drift import DriftNotice
    from agent.schema.governor import GovernorMove
    from agent.schema.ipc import FrameResult
    from agent.schema.topics import DeviceTopics
    from agent.telemetry.outbox import Outbox
    from agent.telemetry.reporter import Line

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Streams:
    """Sends events and detections; neither call blocks, so the worker's reader thread may make them."""

    topics: DeviceTopics
    outbox: Outbox
    line: Line

    def event(self, event: Event) -> None:
        """Spool an object event."""
        self.outbox.put(self.topics.event(event.camera), to_json(event), Priority.EVENT)

    def zone(self, event: ZoneEvent) -> None:
        """Spool what an object did at a zone or line."""
        self.outbox.put(self.topics.zone(event.camera), to_json(event), Priority.EVENT)

    def governor_move(self, move: GovernorMove) -> None:
        """Spool a step of the governor."""
        self.outbox.put(self.topics.governor, to_json(move), Priority.ALERT)

    def drift(self, notice: DriftNotice) -> None:
        """Spool that a camera drifted, or does so no more."""
        self.outbox.put(self.topics.drift, to_json(notice), Priority.ALERT)

    def detections(self, result: FrameResult, release: str) -> None:
        """Send the boxes of one frame at QoS 0, or not at all: the next frame makes up for it."""
        if not self.line.connected or result.error:
            return
        message = Detections(
            v=MESSAGE_VERSION,
            device=self.topics.device,
            camera=result.camera,
            frame=result.frame,
            captured_ms=result.captured_ms,
            width=result.width,
            height=result.height,
            release=release,
            boxes=result.boxes,
            stages_ms=result.stages_ms,
            shapes=result.shapes or UNSET,
            ranking=result.ranking or UNSET,
        )
        try:
            self.line.publish(self.topics.detections(result.camera), to_json(message), qos=0)
        except TransferError as error:
            logger.warning("detections of %s not sent: %s", result.camera, error)
