"""The conveyor's figures by day and by night, and what a release would have learned of them."""

from __future__ import annotations

import pytest

from agent.drift.baseline import learn
from agent.schema.drift import FrameFigures, PeriodBaseline
from agent.vision.detector import Detector
from tests.parts.drifting import (
    CONVEYOR,
    Picture,
    conveyor_detector,
    dusk,
    look,
    pictures,
    unspoiled,
)

NIGHT_BELOW = 45.0


@pytest.fixture(scope="session")
def detector() -> Detector:
    return conveyor_detector()


@pytest.fixture(scope="session")
def shown() -> list[Picture]:
    """Sixty pictures, the whole of the recording."""
    return pictures(CONVEYOR, 5)


@pytest.fixture(scope="session")
def day(detector: Detector, shown: list[Picture]) -> list[FrameFigures]:
    return look(detector, shown, unspoiled)


@pytest.fixture(scope="session")
def night(detector: Detector, shown: list[Picture]) -> list[FrameFigures]:
    return look(detector, shown, dusk)


@pytest.fixture(scope="session")
def baseline(day: list[FrameFigures], night: list[FrameFigures]) -> dict[str, PeriodBaseline]:
    return learn([*day, *night], NIGHT_BELOW)
