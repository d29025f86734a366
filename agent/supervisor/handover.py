"""Making a worker the one that is heard: alone, or from another that is heard until the new one has a result."""

from __future__ import annotations

import threading

from agent.errors import ModelError, VigilError
from agent.models.store import InstalledRelease
from agent.schema.manifest import GoldenSet
from agent.supervisor.agreement import Agreement
from agent.supervisor.conversation import Conversation
from agent.supervisor.health import HealthWindow
from agent.supervisor.routing import Router, Serving
from agent.supervisor.settings import WorkerSettings
from agent.supervisor.worker_process import WorkerProcess

_FLOWING_S = 5.0


class Handover:
    """Starts, proves and promotes workers; a worker that fails is stopped and its error raised."""

    def __init__(
        self, settings: WorkerSettings, talk: Conversation, router: Router, health: HealthWindow
    ) -> None:
        self._settings = settings
        self._talk = talk
        self._router = router
        self._health = health
        self._on_trial: WorkerProcess | None = None
        self._abandoned = threading.Event()
        self._agreement = Agreement(settings, talk, self._abandoned.wait)

    def start(self, serving: Serving, max_fps: float) -> None:
        """Load the model of a fresh worker, open the cameras and hear it.

        Raises:
            VigilError: It failed; nobody is heard.
        """
        try:
            self._talk.load(serving.worker, serving.release, self._settings.load_timeout_s)
            self._router.hear(serving)
            self._talk.open_cameras(serving.worker, max_fps)
        except VigilError:
            self._router.hear(None)
            serving.worker.stop()
            raise

    def look(self, candidate: InstalledRelease) -> GoldenSet | None:
        """Return live pictures for `prove` to compare the candidate by; None for no comparison."""
        return self._agreement.look(self._router.serving, candidate)

    def prove(self, candidate: Serving, seen: GoldenSet | None = None) -> None:
        """Load the model of a fresh worker, run its golden set, and compare it with the model before.

        Args:
            candidate: A fresh worker and its release.
            seen: What the model before sees on live pictures, from `look`; None for no comparison.

        Raises:
            VigilError: It failed.
        """
        self._on_trial = candidate.worker
        if self._abandoned.is_set():
            candidate.worker.kill()
        try:
            self._talk.load(candidate.worker, candidate.release, self._settings.trial_timeout_s)
            self._talk.run_golden(candidate.worker, candidate.release)
            if seen is not None:
                self._agreement.require(candidate.worker, candidate.release, seen)
        except VigilError:
            candidate.worker.stop()
            raise
        finally:
            self._on_trial = None

    def abandon(self) -> None:
        """Let a proof that is under way fail at once, and every later one."""
        self._abandoned.set()
        worker = self._on_trial
        if worker is not None:
            worker.kill()

    def promote(
        self, candidate: Serving, old: Serving | None, max_fps: float, old_fps: float
    ) -> float | None:
        """Let `candidate` open the cameras and be heard; the old worker is left to be stopped.

        Args:
            candidate: A worker with its model loaded.
            old: The worker that is heard; None when there is none.
            max_fps: Frame-rate cap of the candidate, 0 for none.
            old_fps: The old worker's, should its cameras have to be opened again.

        Returns:
            Milliseconds between the last result of the old and the first of the new; None when none flowed.

        Raises:
            VigilError: The candidate gave no result in time and is stopped; the old worker serves on.
        """
        sharer = old if self._settings.exclusive_cameras else None
        flows = old is not None and self._health.silence_s < _FLOWING_S
        try:
            if sharer is not None:
                self._talk.close_cameras(sharer.worker)
            return self._open(candidate, max_fps, flows=flows)
        except VigilError:
            candidate.worker.stop()
            if sharer is not None:
                self._talk.open_cameras(sharer.worker, old_fps)
            raise

    def _open(self, candidate: Serving, max_fps: float, *, flows: bool) -> float | None:
        if not flows:  # there is no first result to wait for
            self._talk.open_cameras(candidate.worker, max_fps)
            self._health.begin()
            self._router.hear(candidate)
            return None
        swap = self._router.hear_first_of(candidate)
        try:
            self._talk.open_cameras(candidate.worker, max_fps)
        except VigilError:
            self._router.cancel(swap)
            raise
        if not swap.done.wait(self._settings.camera_timeout_s) and self._router.cancel(swap):
            raise ModelError("no result from the new model in time", code="model.no_result")
        return swap.gap_ms
