"""Fixtures of the telemetry tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.control.world import Observer
from tests.telemetry.device import Device

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.parts.broker import Broker


@pytest.fixture
def device(mosquitto: Broker, tmp_path: Path) -> Iterator[Device]:
    device = Device(mosquitto, tmp_path)
    yield device
    device.stop()


@pytest.fixture
def observer(mosquitto: Broker) -> Iterator[Observer]:
    observer = Observer(mosquitto.port)
    yield observer
    observer.close()
