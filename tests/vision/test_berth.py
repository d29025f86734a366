"""The watchdog: a library that hangs costs its camera a thread, and nobody else anything."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from agent.vision.berth import MOST_HUNG, Berth
from agent.vision.camera_record import CameraRecord
from agent.vision.cameras import CAMERAS, Frame
from agent.vision.capture import CaptureLoop
from agent.vision.mailbox import Mailbox
from tests.parts.streams import wait_for
from tests.vision.filming import setup
from tests.vision.scripted_camera import HangingCamera

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def berth(monkeypatch: pytest.MonkeyPatch) -> Iterator[Berth[Frame]]:
    monkeypatch.setitem(CAMERAS, "hanging", "tests.vision.scripted_camera:HangingCamera")
    HangingCamera.woken.clear()
    HangingCamera.made = 0
    record, mailbox = CameraRecord("door"), Mailbox[Frame](["door"])

    def loop() -> CaptureLoop[Frame]:
        return CaptureLoop(setup("hanging:"), mailbox, lambda frame: frame, record=record)

    made = Berth("hanging:", loop, spawn, hung_after_s=0.1)
    yield made
    HangingCamera.woken.set()
    made.stop()
    for thread in made.threads:
        thread.join(60)
        assert not thread.is_alive()


def spawn(name: str, target: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=target, name=name, daemon=True)
    thread.start()
    return thread


def test_another_loop_takes_over_from_one_that_hangs(berth: Berth[Frame]) -> None:
    def check() -> bool:
        berth.check()
        return HangingCamera.made == 2

    wait_for(check)
    wait_for(lambda: berth.report(0).captured >= 6)
    report = berth.report(0)
    assert report.status == "streaming"
    assert report.failures == 1


def test_a_driver_that_hangs_for_good_costs_a_bounded_number_of_threads(
    berth: Berth[Frame],
) -> None:
    def check() -> bool:
        berth.check()
        return len(berth.threads) == MOST_HUNG + 1 and HangingCamera.made == MOST_HUNG + 1

    wait_for(check)
    wait_for(lambda: berth.report(0).captured == 3 * (MOST_HUNG + 1))
    for _ in range(5):
        berth.check()
    assert HangingCamera.made == MOST_HUNG + 1


def test_what_a_loop_says_after_it_was_left_behind_is_not_heard(berth: Berth[Frame]) -> None:
    def check() -> bool:
        berth.check()
        return len(berth.threads) == MOST_HUNG + 1

    wait_for(check)
    left_behind = berth.threads[1:]
    wait_for(lambda: berth.report(0).captured == 3 * (MOST_HUNG + 1))
    berth.stop()
    HangingCamera.woken.set()
    for thread in left_behind:
        thread.join(60)
        assert not thread.is_alive()
    assert berth.report(0).captured == 3 * (MOST_HUNG + 1)
