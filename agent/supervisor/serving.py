"""Which worker serves the cameras, which one is on trial, and what happens when one dies.

Rules
- At most one worker serves and at most one is a candidate. Only the serving one's results reach listeners.
- A swap costs no second load: the candidate that passed its trial opens the cameras while the old worker
  still serves; its first result makes it the serving one, and only then the old worker stops.
- Where memory does not allow two models the old worker makes room for the trial, and comes back if it fails.
- A dead or silent serving worker is replaced: at once the first time, then with back-off.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from agent.errors import ModelError, VigilError
from agent.models.store import InstalledRelease
from agent.schema import ipc
from agent.supervisor.backoff import Backoff
from agent.supervisor.conversation import Conversation, WorkerSettings
from agent.supervisor.health import HealthWindow
from agent.supervisor.routing import Listeners, Router, Serving
from agent.supervisor.worker_process import WorkerProcess
from agent.update.ports import Health

log = logging.getLogger(__name__)
_FLOWING_S = 5.0


class Supervisor:
    """Keeps one worker serving the wanted release; the `ModelHost` of the updater.

    Args:
        settings: How workers are started.
        conversation: How workers are spoken with.
        listeners: Where results go.
        temperature_c: Reads the board's temperature for the health report.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        conversation: Conversation,
        listeners: Listeners,
        temperature_c: Callable[[], float | None],
    ) -> None:
        self._settings = settings
        self._talk = conversation
        self._listeners = listeners
        self._health = HealthWindow(temperature_c)
        self._router = Router(listeners, self._health)
        self._change = threading.RLock()  # held while the serving worker changes
        self._wake = threading.Event()
        self._spawner = ThreadPoolExecutor(1, thread_name_prefix="worker-spawner")
        self._wanted: InstalledRelease | None = None
        self._candidate: Serving | None = None
        self._on_trial: WorkerProcess | None = None
        self._is_abandoned = False
        self._making_room = False
        self._backoff = Backoff(settings.backoff_min_s, settings.backoff_max_s)
        self.pipeline, self.problem = "stopped", ""

    # for the updater --------------------------------------------------------------------------------

    def trial(self, release: InstalledRelease) -> None:
        """Load `release` in a new worker and run its golden set; the worker stays as the candidate.

        Raises:
            ModelError: It cannot be loaded, dies, hangs, or its results are wrong.
        """
        self.discard()
        self._talk.prepare(release)
        if not self._settings.two_models:
            self._making_room = True
            with self._change:
                self._retire()
        candidate = Serving(self._spawn(), release)
        self._on_trial = candidate.worker
        if self._is_abandoned:
            candidate.worker.kill()
        try:
            self._talk.load(candidate.worker, release, self._settings.trial_timeout_s)
            self._talk.run_golden(candidate.worker, release)
        except VigilError:
            candidate.worker.stop()
            self._take_room_back()
            raise
        finally:
            self._on_trial = None
        self._candidate = candidate

    def swap(self) -> float | None:
        """Let the candidate open the cameras and retire the old worker after its first result.

        Returns:
            Milliseconds without results between the two workers; None when none were flowing.

        Raises:
            ModelError: No candidate, or it gave no result in time; the old worker serves on.
        """
        candidate, self._candidate = self._candidate, None
        if candidate is None:
            raise ModelError("there is no candidate to swap in", code="model.no_candidate")
        with self._change:
            old = self._router.serving
            gap_ms = self._promote(candidate, old)
            self._wanted = candidate.release
            self._making_room = False
            if old is not None:
                old.worker.stop()
        return gap_ms

    def discard(self) -> None:
        """Stop the candidate, if there is one."""
        candidate, self._candidate = self._candidate, None
        if candidate is not None:
            candidate.worker.stop()
            self._take_room_back()

    def serve(self, release: InstalledRelease | None) -> None:
        """Serve `release` from now on, or nothing; a worker that serves it already goes on.

        Raises:
            ModelError: It could not be started; the supervisor keeps trying with back-off.
        """
        with self._change:
            self._wanted = release
            serving = self._router.serving
            if serving and release and serving.worker.alive and serving.release.ref == release.ref:
                return
            self._backoff.reset()
            self._health.begin()
            self._retire()
            if release is not None:
                self._start(release)

    def health(self) -> Health:
        """Return what was seen since the last swap or serve."""
        return self._health.read()

    # for the app ------------------------------------------------------------------------------------

    def want(self, release: InstalledRelease | None, problem: str = "") -> None:
        """Say what `run` is to serve from its start on; `problem` is why it is nothing."""
        with self._change:
            self._wanted = release
            self._set_pipeline("stopped", problem)
        self._wake.set()

    def abandon_trial(self) -> None:
        """Let a trial that is under way fail at once, and every later one: the agent stops."""
        self._is_abandoned = True
        if worker := self._on_trial:
            worker.kill()

    def run(self, stop: threading.Event) -> None:
        """Replace the serving worker whenever it dies or falls silent, until `stop` is set."""
        while not stop.is_set():
            self._wake.wait(0.5)
            self._wake.clear()
            if not stop.is_set():
                self._watch()
        self.discard()
        with self._change:
            self._wanted = None
            self._retire()

    def grab(self, camera: str, max_width: int, quality: int) -> tuple[ipc.FrameGrabbed, bytes]:
        """Fetch a camera's newest frame as JPEG from the serving worker.

        Raises:
            CameraError: No such camera or no frame yet.
            ModelError: Nothing serves now.
        """
        serving = self._router.serving
        if serving is None:
            raise ModelError("no model is running", code="model.none")
        return self._talk.grab(serving.worker, camera, max_width, quality)

    @property
    def worker_pid(self) -> int | None:
        """Process id of the serving worker."""
        serving = self._router.serving
        return serving.worker.pid if serving else None

    @property
    def release(self) -> InstalledRelease | None:
        """The release whose results are being reported."""
        serving = self._router.serving
        return serving.release if serving else None

    # starting, stopping, swapping -------------------------------------------------------------------

    def _spawn(self) -> WorkerProcess:
        # A worker dies with the thread that started it (PR_SET_PDEATHSIG): this one outlives all loops.
        settings, router = self._settings, self._router
        return self._spawner.submit(
            WorkerProcess, settings.memory_mb, router.on_message, self._on_death, settings.command
        ).result()

    def _start(self, release: InstalledRelease) -> None:
        self._set_pipeline("starting", "")
        try:
            serving = Serving(self._spawn(), release)
            try:
                self._talk.load(serving.worker, release, self._settings.load_timeout_s)
                self._router.hear(serving)
                self._talk.open_cameras(serving.worker)
            except VigilError:
                self._router.hear(None)
                serving.worker.stop()
                raise
        except VigilError as error:
            self._set_pipeline("failed", str(error))
            raise
        self._set_pipeline("running", "")

    def _retire(self) -> None:
        serving = self._router.serving
        self._router.hear(None)
        if serving is not None:
            serving.worker.stop()
        self._set_pipeline("stopped", "")

    def _take_room_back(self) -> None:
        self._making_room = False
        self._wake.set()

    def _promote(self, candidate: Serving, old: Serving | None) -> float | None:
        gap_ms = None
        if old is not None and self._health.silence_s < _FLOWING_S:
            exclusive = self._settings.exclusive_cameras
            gap_ms = self._hand_cameras_over(candidate, old if exclusive else None)
        else:  # no frames flow, so there is no first result to wait for
            if old is not None and self._settings.exclusive_cameras:
                self._talk.close_cameras(old.worker)
            self._talk.open_cameras(candidate.worker)
            self._health.begin()
            self._router.hear(candidate)
        self._set_pipeline("running", "")
        return gap_ms

    def _hand_cameras_over(self, candidate: Serving, sharer: Serving | None) -> float:
        """Open the cameras in `candidate`, after `sharer` has closed those only one can have."""
        swap = self._router.hear_first_of(candidate)
        try:
            if sharer is not None:
                self._talk.close_cameras(sharer.worker)
            self._talk.open_cameras(candidate.worker)
            if not swap.done.wait(self._settings.camera_timeout_s) and self._router.cancel(swap):
                raise ModelError("no result from the new model in time", code="model.no_result")
        except VigilError:
            self._router.cancel(swap)
            candidate.worker.stop()
            if sharer is not None:
                self._talk.open_cameras(sharer.worker)
            raise
        return swap.gap_ms

    def _on_death(self, worker: WorkerProcess) -> None:
        serving = self._router.serving
        if serving is not None and serving.worker is worker:
            self._wake.set()

    def _watch(self) -> None:
        with self._change:
            serving = self._router.serving
            if serving is not None:
                if serving.worker.alive and serving.worker.silence_s <= self._settings.silence_s:
                    return
                self._bury(serving)
            if self._wanted is not None and not self._making_room and self._backoff.is_over:
                self._restart(self._wanted)

    def _bury(self, dead: Serving) -> None:
        reason = "fell silent" if dead.worker.alive else "died"
        log.error("worker %d %s; restarting it", dead.worker.pid, reason)
        dead.worker.kill()
        self._router.hear(None)
        self._health.restarted()
        self._listeners.restarted()
        self._set_pipeline("restarting", f"the worker {reason}")

    def _restart(self, release: InstalledRelease) -> None:
        self._backoff.count_start()
        try:
            self._start(release)
        except VigilError as error:
            log.error("the pipeline did not start: %s", error)

    def _set_pipeline(self, pipeline: str, problem: str) -> None:
        if (pipeline, problem) != (self.pipeline, self.problem):
            self.pipeline, self.problem = pipeline, problem
            log.info("pipeline %s%s", pipeline, f": {problem}" if problem else "")
