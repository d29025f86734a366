"""Which worker serves the cameras, which one is on trial, and what happens when one dies.

Rules
- At most one worker serves and at most one is a candidate. Only the serving one's results reach listeners.
- A swap costs no second load: the candidate that passed its trial opens the cameras while the old worker
  still serves; its first result makes it the serving one, and only then the old worker stops.
- Where memory does not allow two models the old worker makes room for the trial, and comes back if it fails.
- Another variant of the serving release takes over in the same way (`switch`); one that fails leaves
  everything as it was. A release that takes over begins without a frame-rate cap.
- A dead or silent serving worker is replaced: at once the first time, then with back-off.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from agent.errors import ModelError, VigilError
from agent.governor.ports import Setting
from agent.models.store import InstalledRelease
from agent.schema import ipc
from agent.schema.manifest import GoldenSet
from agent.supervisor.backoff import Backoff
from agent.supervisor.conversation import Conversation
from agent.supervisor.handover import Handover
from agent.supervisor.health import HealthWindow
from agent.supervisor.routing import Listeners, Router, Serving
from agent.supervisor.settings import WorkerSettings
from agent.supervisor.worker_process import WorkerProcess
from agent.update.ports import Health, Strain

log = logging.getLogger(__name__)


class Supervisor:
    """Keeps one worker serving the wanted release; the updater's `ModelHost`, the governor's `Throttle`.

    Args:
        settings: How workers are started.
        conversation: How workers are spoken with.
        listeners: Where results go.
        strain: Says what the board bears now, given the process id of the serving worker.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        conversation: Conversation,
        listeners: Listeners,
        strain: Callable[[int | None], Strain],
    ) -> None:
        self._settings, self._talk, self._listeners = settings, conversation, listeners
        self._health = HealthWindow(strain)
        self._router = Router(listeners, self._health)
        self._handover = Handover(settings, conversation, self._router, self._health)
        self._change = threading.RLock()  # held while the serving worker changes
        self._preparing = threading.Lock()  # held while a candidate is made: one at a time
        self._max_fps = 0.0
        self._wake = threading.Event()
        self._spawner = ThreadPoolExecutor(1, thread_name_prefix="worker-spawner")
        self._wanted: InstalledRelease | None = None
        self._candidate: Serving | None = None
        self._making_room = False
        self._backoff = Backoff(settings.backoff_min_s, settings.backoff_max_s)
        self.pipeline, self.problem = "stopped", ""

    def trial(self, release: InstalledRelease) -> None:
        """Load `release` in a new worker and prove it (`Handover.prove`); the worker stays as the candidate.

        Raises:
            ModelError: It cannot be loaded, dies, hangs, or its results are wrong.
        """
        with self._preparing:
            self.discard()
            self._candidate = self._prepare(release, self._handover.look(release))

    def swap(self) -> float | None:
        """Let the candidate open the cameras and retire the old worker after its first result.

        Returns milliseconds without results between the two workers; None when none were flowing.

        Raises:
            ModelError: No candidate, or it gave no result in time; the old worker serves on.
        """
        candidate, self._candidate = self._candidate, None
        if candidate is None:
            raise ModelError("there is no candidate to swap in", code="model.no_candidate")
        with self._change:
            return self._promote(candidate, max_fps=0.0)

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
            self._max_fps = 0.0
            if release is not None:
                self._start(release)

    def health(self) -> Health:
        """Return what was seen since the last swap or serve."""
        return self._health.read(self.worker_pid)

    # for the governor -------------------------------------------------------------------------------

    @property
    def setting(self) -> Setting | None:
        """What serves, and at which frame-rate cap."""
        serving = self._router.serving
        return Setting(serving.release, self._max_fps) if serving else None

    def set_rate(self, max_fps: float) -> None:
        """Cap the frame rate of every camera of the serving worker; 0 lets it go.

        Raises:
            ModelError: Nothing serves, or the worker does not answer.
        """
        with self._change:
            self._talk.set_rate(self._worker(), max_fps)
            self._max_fps = max_fps

    def switch(self, release: InstalledRelease, max_fps: float) -> None:
        """Let another variant of the serving release take over, proven by its golden set.

        Raises:
            VigilError: It fails, or another release serves by now; what served serves on.
        """
        with self._preparing:
            self._require_wanted(release)
            candidate = self._prepare(release)
            with self._change:
                try:
                    self._require_wanted(release)
                    self._promote(candidate, max_fps)
                except VigilError:
                    candidate.worker.stop()
                    self._take_room_back()
                    raise

    def _require_wanted(self, release: InstalledRelease) -> None:
        if self._wanted is None or self._wanted.ref != release.ref or self._candidate is not None:
            raise ModelError(f"{release.ref.label} gives way to another", code="model.superseded")

    # for the app ------------------------------------------------------------------------------------

    def want(self, release: InstalledRelease | None, problem: str = "") -> None:
        """Say what `run` is to serve from its start on; `problem` is why it is nothing."""
        with self._change:
            self._wanted = release
            self._set_pipeline("stopped", problem)
        self._wake.set()

    def abandon_trial(self) -> None:
        """Let a trial that is under way fail at once, and every later one: the agent stops."""
        self._handover.abandon()

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
        """Fetch a camera's newest frame as JPEG; `CameraError` without one, `ModelError` without a worker."""
        return self._talk.grab(self._worker(), camera, max_width, quality)

    def _worker(self) -> WorkerProcess:
        if (serving := self._router.serving) is None:
            raise ModelError("no model is running", code="model.none")
        return serving.worker

    @property
    def is_trying(self) -> bool:
        """Whether another model is being loaded or proven, or waits to take over."""
        return self._preparing.locked() or self._candidate is not None

    @property
    def worker_pid(self) -> int | None:
        """Process id of the serving worker."""
        return serving.worker.pid if (serving := self._router.serving) else None

    @property
    def release(self) -> InstalledRelease | None:
        """The release whose results are being reported."""
        return serving.release if (serving := self._router.serving) else None

    # starting, stopping, swapping -------------------------------------------------------------------

    def _spawn(self) -> WorkerProcess:
        # A worker dies with the thread that started it (PR_SET_PDEATHSIG): this one outlives all loops.
        settings = self._settings
        arguments = (settings.memory_mb, self._router.on_message, self._on_death, settings.command)
        return self._spawner.submit(WorkerProcess, *arguments).result()

    def _prepare(self, release: InstalledRelease, seen: GoldenSet | None = None) -> Serving:
        """Load `release` in a new worker and prove it (`Handover.prove`)."""
        self._talk.prepare(release)
        if not self._settings.two_models:
            self._making_room = True
            with self._change:
                self._retire()
        candidate = Serving(self._spawn(), release)
        try:
            self._handover.prove(candidate, seen)
        except VigilError:
            self._take_room_back()
            raise
        return candidate

    def _promote(self, candidate: Serving, max_fps: float) -> float | None:
        """Make `candidate` the serving worker and the one that is wanted; return the gap."""
        old = self._router.serving
        gap_ms = self._handover.promote(candidate, old, max_fps, self._max_fps)
        self._wanted, self._max_fps = candidate.release, max_fps
        self._making_room = False
        self._set_pipeline("running", "")
        if old is not None:
            old.worker.stop()
        return gap_ms

    def _start(self, release: InstalledRelease) -> None:
        self._set_pipeline("starting", "")
        try:
            self._handover.start(Serving(self._spawn(), release), self._max_fps)
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

    def _on_death(self, worker: WorkerProcess) -> None:
        self._listeners.gone(worker.pid)
        if (serving := self._router.serving) is not None and serving.worker is worker:
            self._wake.set()

    def _watch(self) -> None:
        with self._change:
            if (serving := self._router.serving) is not None:
                if serving.worker.alive and serving.worker.silence_s <= self._settings.silence_s:
                    self._talk.settle_gates(serving.worker)
                    return
                self._bury(serving)
            if self._wanted is not None and not self._making_room and self._backoff.is_over:
                self._restart(self._wanted)

    def _bury(self, dead: Serving) -> None:
        reason = "fell silent" if dead.worker.alive else dead.worker.end
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
