"""Parts of this room's tests: events as a worker sends them, a store in a folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.events.store import EventStore
from agent.schema.events import Event
from agent.schema.recording import StoreConfig

MakeStore = Callable[..., EventStore]


def event(number: int = 1, kind: str = "new", **changes: Any) -> Event:
    """Event `number` of a camera; it began at `number` seconds."""
    fields: dict[str, Any] = {
        "v": 1,
        "device": "d1",
        "camera": "door",
        "id": f"boot-door-{number}",
        "type": kind,
        "label": "person",
        "score": 0.8,
        "top_score": 0.9,
        "box": (1.0, 2.0, 3.0, 4.0),
        "start_ms": number * 1000,
        "at_ms": number * 1000 + 500,
        "end_ms": number * 1000 + 400 if kind == "end" else None,
        "has_snapshot": True,
        "has_clip": True,
    }
    return Event(**(fields | changes))


@pytest.fixture
def make_store(tmp_path: Path) -> MakeStore:
    """Makes stores in one folder; a second one is the next life of the agent."""

    def make(disk: Any = None, **config: Any) -> EventStore:
        settings = StoreConfig(**({"min_free_mb": 0, "retain_days": 10_000_000.0} | config))
        folder = tmp_path / "events"
        return EventStore(folder, settings, disk) if disk else EventStore(folder, settings)

    return make
