"""Motion gates close only while no update is being judged, in whichever worker serves."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from typing_extensions import Self

from agent.host.memfd import memfd_of
from agent.schema.config import CameraConfig
from agent.schema.motion import MotionConfig
from agent.supervisor import Conversation, Listeners, Supervisor
from agent.update.ports import Strain
from tests.parts.streams import wait_for
from tests.supervisor.bench import SETTINGS, release

if TYPE_CHECKING:
    from agent.schema import ipc

BELT = CameraConfig(name="belt", source="belt.mp4", motion=MotionConfig(enabled=True))


class Gates:
    """A supervisor whose cameras have motion gates; `judged` is whether an update is being judged."""

    def __init__(self) -> None:
        self.judged = False
        self.state = ""
        settings = replace(SETTINGS, cameras=[BELT])
        conversation = Conversation(
            settings,
            lambda _: memfd_of(b"weights", "test"),
            lambda _: memfd_of(b"golden", "test"),
            may_gate=lambda: not self.judged,
        )
        listeners = Listeners(
            frame=lambda *_: None,
            heartbeat=self._beat,
            restarted=lambda: None,
        )
        self.supervisor = Supervisor(settings, conversation, listeners, lambda _: Strain())
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self.supervisor.run, args=(self._stop,))

    def __enter__(self) -> Self:
        self.supervisor.want(release("good"))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive()

    def _beat(self, beat: ipc.Heartbeat) -> None:
        self.state = beat.cameras[0].gate


def test_gates_may_close_while_nothing_is_judged() -> None:
    with Gates() as gates:
        wait_for(lambda: gates.state == "open")


def test_a_model_on_probation_sees_every_frame_until_it_is_kept() -> None:
    with Gates() as gates:
        wait_for(lambda: gates.state == "open")
        gates.judged = True
        wait_for(lambda: gates.state == "paused")
        gates.supervisor.trial(release("better"))
        gates.supervisor.swap()
        pid = gates.supervisor.worker_pid
        gates.state = ""
        wait_for(lambda: gates.state == "paused")
        gates.judged = False
        wait_for(lambda: gates.state == "open")
        assert gates.supervisor.worker_pid == pid
