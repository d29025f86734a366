"""A day offline and a hundred deaths of the broker, in short; `scripts/endure_link` runs them in full."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.control.link import dialling
from tests.parts.broker import Broker, needs_mosquitto
from tests.parts.endurance import broker_restarts, offline_day
from tests.parts.line_ends import TOPICS

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = needs_mosquitto


def test_hours_offline_with_a_power_cut_lose_only_what_is_counted(tmp_path: Path) -> None:
    broker = Broker(tmp_path / "broker")
    day = offline_day(tmp_path, broker, hours=1.5, max_mb=1, group_s=60)
    broker.stop()
    assert (day.missing, day.disordered) == (0, 0)
    assert sum(day.put.values()) == sum(day.received.values()) + day.dropped
    assert 0 < day.dropped < day.put[TOPICS.telemetry]
    assert day.received[TOPICS.reply] == day.put[TOPICS.reply]
    assert day.received[TOPICS.event("door")] == day.put[TOPICS.event("door")]


def test_restarts_of_the_broker_leak_nothing_and_lose_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for ending in dialling.Ending:
        monkeypatch.setitem(dialling._WAITS_S, ending, (0.05, 0.05))
    broker = Broker(tmp_path / "broker")
    left = broker_restarts(tmp_path, broker, count=8)
    broker.stop()
    assert left.connections == left.restarts + 1
    assert max(left.threads_more, left.files_more) <= 0
    assert (left.dropped, left.disordered) == (0, 0)
    assert left.received == left.put
