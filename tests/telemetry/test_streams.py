"""Events and detections on their way to the broker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from agent.errors import TransferError
from agent.schema.document import parse_json
from agent.schema.events import Event
from agent.schema.ipc import FrameResult
from agent.schema.messages import Detections
from agent.schema.values import Box
from agent.telemetry.streams import Streams
from tests.control.world import DEVICE, TOPICS, Observer, until
from tests.parts.broker import needs_mosquitto

if TYPE_CHECKING:
    from tests.telemetry.device import Device

pytestmark = needs_mosquitto

EVENT = Event(
    v=1,
    device=DEVICE,
    camera="door",
    id="e1",
    type="new",
    label="person",
    score=0.5,
    top_score=0.5,
    box=(0.0, 0.0, 1.0, 1.0),
    start_ms=1,
    at_ms=1,
)
FRAME = FrameResult(
    camera="door",
    frame=7,
    captured_ms=1,
    captured_ns=1,
    finished_ns=2,
    width=64,
    height=48,
    boxes=[Box(label=0, score=0.5, x_min=0.0, y_min=0.0, x_max=1.0, y_max=1.0)],
    stages_ms={"infer": 3.0},
)


def test_events_are_spooled_and_detections_go_straight_out(
    device: Device, observer: Observer
) -> None:
    streams = Streams(TOPICS, device.outbox, device.link)
    streams.detections(FRAME, "detector 3")
    streams.event(EVENT)
    assert device.outbox.size == 1
    device.start()
    event = observer.wait(TOPICS.event("door"), bool)
    assert parse_json(event, Event) == EVENT
    streams.detections(FRAME, "detector 3")
    streams.detections(replace(FRAME, error="model.failed"), "detector 3")
    found = parse_json(observer.wait(TOPICS.detections("door"), bool), Detections)
    assert (found.frame, found.release, found.boxes) == (7, "detector 3", FRAME.boxes)
    assert len(observer.payloads(TOPICS.detections("door"))) == 1


def test_a_frame_with_absurdly_many_boxes_harms_nobody(device: Device) -> None:
    device.start()
    assert until(lambda: device.link.connected)
    with pytest.raises(TransferError):
        device.link.publish(TOPICS.telemetry, bytes(200_000))
    crowded = replace(FRAME, boxes=FRAME.boxes * 10_000)
    Streams(TOPICS, device.outbox, device.link).detections(crowded, "detector 3")
    assert device.link.connected
