"""The story: what is done to the device, chapter by chapter, and what must come of it.

Every chapter is a row of `STORY`: a title, what is published, and the outcome the device must report. The
outcome is the device's own word, from the reply to the deploy command.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec.structs import asdict

from agent.demo import releases
from agent.demo.device import DemoDevice
from agent.demo.fleet import DemoFleet
from agent.demo.forgery import forged
from agent.demo.releases import Script
from agent.demo.screen import Chapter, ChapterStatus
from agent.errors import TransferError, VigilError
from agent.schema.manifest import MANIFEST_FILE, ReleaseRef
from agent.schema.messages import Outcome, State, UpdateReport

_PATIENCE_S = 75.0
_START_S = 30.0


@contextmanager
def approved(fleet: DemoFleet, release: Path) -> Iterator[ReleaseRef]:
    """Publish `release` with the approvals it needs."""
    ref = fleet.repository.add_release(release)
    fleet.publish()
    fleet.controller.hint(fleet.repository.timestamp_version)
    yield ref


Publish = Callable[[DemoFleet, Path], AbstractContextManager[ReleaseRef]]


@dataclass(frozen=True)
class Scene:
    """One row of the story."""

    title: str
    script: Script
    expected: Outcome
    publish: Publish = approved


STORY = (
    Scene("First release arrives", releases.FIRST, Outcome.COMMITTED),
    Scene("Better release arrives", releases.BETTER, Outcome.COMMITTED),
    Scene("Release signed with a wrong key", releases.FORGED, Outcome.REFUSED, forged),
    Scene("Release whose model crashes", releases.CRASHING, Outcome.REJECTED),
    Scene("Release with wrong golden outputs", releases.WRONG, Outcome.REJECTED),
    Scene("Release that fails in the glare", releases.GLARING, Outcome.ROLLED_BACK),
)


class Story:
    """Builds the releases, then plays `STORY` in a thread of its own; `chapters` tells how far it is.

    Attributes:
        problem: Why the story could not be told to its end; empty otherwise.
    """

    def __init__(self, fleet: DemoFleet, device: DemoDevice) -> None:
        self._fleet = fleet
        self._device = device
        self._releases = [releases.build(fleet, scene.script) for scene in STORY]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._play, name="story", daemon=True)
        self.chapters: tuple[Chapter, ...] = tuple(Chapter(scene.title) for scene in STORY)
        self.reports: dict[str, UpdateReport] = {}
        self.problem = ""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Leave off at the next occasion and wait for that."""
        self._stop.set()
        self._thread.join(_PATIENCE_S)

    @property
    def is_over(self) -> bool:
        """Whether all is told, or nothing more will be."""
        return self._thread.ident is not None and not self._thread.is_alive()

    @property
    def is_as_expected(self) -> bool:
        """Whether every chapter ended as it must."""
        return all(
            (report := self.reports.get(scene.title)) is not None
            and report.outcome is scene.expected
            for scene in STORY
        )

    def facts(self) -> list[dict[str, Any]]:
        """Return each release with its outcome and reason, for `--json`."""
        return [
            {"chapter": title, **asdict(report), "outcome": report.outcome.value}
            for title, report in self.reports.items()
        ]

    def _play(self) -> None:
        try:
            self._await_device()
            for number, scene in enumerate(STORY):
                if self._stop.is_set():
                    return
                self._tell(number, Chapter(scene.title, ChapterStatus.RUNNING))
                report = self._perform(scene, self._releases[number])
                self.reports[scene.title] = report
                self._tell(number, _told(scene, report))
        except VigilError as error:
            if not self._stop.is_set():
                self.problem = str(error)

    def _await_device(self) -> None:
        self._fleet.controller.inbox.wait_state(
            self._device.name, lambda state: state.online and state.policy_ver > 0, _START_S
        )

    def _perform(self, scene: Scene, release: Path) -> UpdateReport:
        with scene.publish(self._fleet, release) as ref:
            self._fleet.deploy(ref, self._device.name)
            return self._await_report(ref)

    def _await_report(self, ref: ReleaseRef) -> UpdateReport:
        def is_over(state: State) -> bool:
            last = state.last_update
            if last is None or last.path != ref.path or state.release is None:
                return False
            # A chapter ends with a model running: the new one, or again the one before.
            is_new = ref.path == f"models/{state.release}/{MANIFEST_FILE}"
            return is_new == (last.outcome is Outcome.COMMITTED)

        deadline_s = time.monotonic() + _PATIENCE_S
        while True:
            try:
                inbox = self._fleet.controller.inbox
                state = inbox.wait_state(self._device.name, is_over, timeout_s=1.0)
            except TransferError:
                if self._stop.is_set() or time.monotonic() > deadline_s:
                    raise
                continue
            if state.last_update is not None:
                return state.last_update

    def _tell(self, number: int, chapter: Chapter) -> None:
        self.chapters = (*self.chapters[:number], chapter, *self.chapters[number + 1 :])


def _told(scene: Scene, report: UpdateReport) -> Chapter:
    is_right = report.outcome is scene.expected
    reason = report.reason
    if report.outcome is Outcome.COMMITTED:
        gap_ms = report.swap_gap_ms
        reason = f"{report.release} serves" + (
            f", gap {gap_ms:.0f} ms" if gap_ms is not None else ""
        )
    return Chapter(
        scene.title,
        ChapterStatus.DONE if is_right else ChapterStatus.FAILED,
        report.outcome.value.replace("_", " "),
        reason,
    )
