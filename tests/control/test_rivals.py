"""Two clients with one identity: the broker throws each out in turns, and both say what that means."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

import pytest

from agent.control.link import Link
from agent.control.link.dialling import Ending
from agent.control.link.rivals import FIND_THE_COPY, SUSPECTED, TAKEN_OVER, Rivals
from tests.control.world import TOPICS, plain, until
from tests.parts.broker import Broker, needs_mosquitto

if TYPE_CHECKING:
    from collections.abc import Sequence


@needs_mosquitto
@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_two_devices_with_one_identity_are_told_of_each_other(
    mosquitto: Broker, protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    links = [Link(plain(mosquitto, protocol=protocol), TOPICS) for _ in range(2)]
    try:
        for link in links:
            link.start()
        # Whether mosquitto says it by MQTT 5 is a matter of its version.
        for link in links:
            assert until(partial(_is_told, link)), link.description
        assert until(lambda: any(link.connected and _is_told(link) for link in links))
    finally:
        for link in links:
            link.stop(1.0)
    assert FIND_THE_COPY in caplog.text


def _is_told(link: Link) -> bool:
    return TAKEN_OVER in link.description or SUSPECTED in link.description


SOON, LATE = (Ending.DROPPED, 0.5), (Ending.DROPPED, 3600.0)
AWAY, LOST = (Ending.UNREACHABLE, 0.0), (Ending.LOST, 0.5)
COURSES = {
    "taken over": ([(Ending.TAKEN_OVER, 900.0)], TAKEN_OVER),
    "closed three times": ([SOON, SOON, SOON], SUSPECTED),
    "closed twice": ([SOON, SOON], ""),
    "a broker that restarts": ([SOON, AWAY, SOON, AWAY, SOON, AWAY], ""),
    "a night between": ([SOON, SOON, LATE], ""),
    "a network with gaps": ([LOST] * 9, ""),
}


@pytest.mark.parametrize(("endings", "words"), COURSES.values(), ids=COURSES)
def test_what_is_taken_for_a_rival(endings: Sequence[tuple[Ending, float]], words: str) -> None:
    rivals = Rivals()
    for ending, lasted_s in endings:
        rivals.ended(ending, lasted_s, 100.0)
    assert rivals.told(100.0) == words


def test_a_rival_is_news_once_and_forgotten_after_a_while() -> None:
    rivals = Rivals()
    assert rivals.ended(Ending.TAKEN_OVER, 900.0, 100.0)
    assert not rivals.ended(Ending.TAKEN_OVER, 10.0, 120.0)
    assert rivals.told(700.0)
    assert not rivals.told(721.0)
    assert rivals.ended(Ending.TAKEN_OVER, 900.0, 800.0)
