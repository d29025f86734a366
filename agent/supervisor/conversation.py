"""What the control process asks of a worker, request by request."""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Callable

from msgspec import msgpack

from agent.errors import ModelError, VigilError
from agent.host.clock import monotonic_ns
from agent.host.memfd import bytes_of, memfd_of
from agent.host.processes import pss_mb
from agent.models.store import InstalledRelease
from agent.schema import ipc
from agent.schema.drift import BASELINE_VERSION, DriftConfig, FigureRules
from agent.schema.manifest import GoldenSet, GoldenSpec
from agent.schema.values import BackendName
from agent.supervisor.engines import Engines
from agent.supervisor.settings import WorkerSettings
from agent.supervisor.worker_process import WorkerProcess

log = logging.getLogger(__name__)
_SAME_IOU = 0.5  # overlap from which two models mean the same object
_MAX_JPEG_BYTES = 32 * 2**20  # of a picture 4096 pixels wide, with room to spare


class Conversation:
    """Speaks with workers; all methods raise `ModelError` when the worker fails, dies or hangs.

    Args:
        settings: How workers are set up.
        open_payload: Gives a sealed memfd with a release's plaintext model.
        open_golden: Gives a sealed memfd with a release's plaintext golden set.
        engines: The TensorRT engines of this device; None where TensorRT is not installed.
        on_measured: Told the latency of every golden run, also of one that fails.
        may_gate: Whether motion gates may keep frames from the model now.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        open_payload: Callable[[InstalledRelease], int],
        open_golden: Callable[[InstalledRelease], int],
        engines: Engines | None = None,
        on_measured: Callable[[InstalledRelease, ipc.GoldenFinished], None] | None = None,
        may_gate: Callable[[], bool] = lambda: True,
    ) -> None:
        self._settings = settings
        self._open_payload = open_payload
        self._open_golden = open_golden
        self._engines = engines
        self._on_measured = on_measured
        self._on_engine = weakref.WeakSet[WorkerProcess]()
        self._may_gate = may_gate
        self._gates_allowed = weakref.WeakKeyDictionary[WorkerProcess, bool]()
        self._epoch_ns = monotonic_ns()

    def prepare(self, release: InstalledRelease) -> None:
        """Do what takes long before the first load of `release`, while another model serves."""
        if self._engines is not None:
            self._engines.prepare(release)

    def load(self, worker: WorkerProcess, release: InstalledRelease, timeout_s: float) -> None:
        """Load and warm up the model of `release`, from its TensorRT engine where one is built."""
        engines = self._engines
        if engines is not None and engines.may_serve(release):
            engine = self._find_engine(engines, worker, release)
            if engine is not None and self._try_engine(engines, worker, release, engine):
                self._on_engine.add(worker)
                return
        self._load(worker, release, timeout_s, self._open_payload(release))

    def _find_engine(
        self, engines: Engines, worker: WorkerProcess, release: InstalledRelease
    ) -> int | None:
        request = ipc.DescribeGpu(id=worker.next_id())
        try:
            described, _ = worker.ask(request, ipc.GpuDescribed, self._settings.load_timeout_s)
            return engines.open(release, described.gpu)
        except ModelError as error:
            engines.give_up(release, error)
            if not worker.alive:
                raise
        except VigilError as error:
            log.warning("no engine for %s now: %s", release.ref.label, error.diagnostics())
        return None

    def _try_engine(
        self, engines: Engines, worker: WorkerProcess, release: InstalledRelease, engine: int
    ) -> bool:
        """Load an engine; return False where it does not load and the worker survived that."""
        try:
            self._load(worker, release, self._settings.load_timeout_s, engine, is_engine=True)
        except ModelError as error:
            engines.reject(release, error)
            if not worker.alive:
                raise
            return False
        return True

    def _load(
        self,
        worker: WorkerProcess,
        release: InstalledRelease,
        timeout_s: float,
        fd: int,
        *,
        is_engine: bool = False,
    ) -> None:
        settings = self._settings
        request = ipc.LoadModel(
            id=worker.next_id(),
            release=release.manifest.release_id,
            variant=release.variant,
            labels=release.manifest.labels,
            threads=settings.threads,
            streams=settings.streams,
            confidence=settings.detect.confidence,
            iou=settings.detect.iou,
            providers=settings.providers,
            delegates=settings.delegates,
            is_engine=is_engine,
            figures=_figure_rules(settings.drift, release),
        )
        try:
            loaded, _ = worker.ask(request, ipc.ModelLoaded, timeout_s, fd)
        finally:
            os.close(fd)
        for note in loaded.notes:
            log.warning("%s: %s", release.ref.label, note)

    def run_golden(self, worker: WorkerProcess, release: InstalledRelease) -> None:
        """Run the golden set of `release` and compare with what its makers expect."""
        golden = release.manifest.golden
        request = ipc.RunGolden(
            id=worker.next_id(),
            variant=release.variant.id,
            min_match=golden.min_match,
            match_iou=golden.iou,
            score_tolerance=golden.score_tolerance,
        )
        result = self._judge(worker, request, self._open_golden(release))
        # Without its engine a TensorRT variant runs elsewhere: that figure is not TensorRT's.
        is_own = release.variant.backend is not BackendName.TENSORRT or worker in self._on_engine
        if self._on_measured is not None and is_own:
            self._on_measured(release, result)
        if result.problem:
            raise ModelError(result.problem, code="model.golden")
        _check_limits(golden, result.p95_ms, pss_mb(worker.pid))

    def share_seen(
        self, worker: WorkerProcess, release: InstalledRelease, seen: GoldenSet
    ) -> float:
        """Return the share of the boxes in `seen` that the model of `release` finds, too."""
        request = ipc.RunGolden(
            id=worker.next_id(),
            variant=release.variant.id,
            min_match=0.0,
            match_iou=_SAME_IOU,
            score_tolerance=1.0,
        )
        return self._judge(worker, request, memfd_of(msgpack.encode(seen), "seen")).recall

    def detect(self, worker: WorkerProcess, jpeg: bytes) -> ipc.PictureDetected:
        """Let a worker without cameras find the objects in a picture, with the thresholds in force."""
        detect = self._settings.detect
        request = ipc.DetectPicture(
            id=worker.next_id(), confidence=detect.confidence, iou=detect.iou
        )
        picture = memfd_of(jpeg, "picture")
        try:
            timeout_s = self._settings.trial_timeout_s
            found, _ = worker.ask(request, ipc.PictureDetected, timeout_s, picture)
        finally:
            os.close(picture)
        return found

    def _judge(
        self, worker: WorkerProcess, request: ipc.RunGolden, golden: int
    ) -> ipc.GoldenFinished:
        try:
            timeout_s = self._settings.trial_timeout_s
            result, _ = worker.ask(request, ipc.GoldenFinished, timeout_s, golden)
        finally:
            os.close(golden)
        return result

    def open_cameras(self, worker: WorkerProcess, max_fps: float = 0.0) -> None:
        """Let the worker capture, detect and report, at most `max_fps` frames a second of each camera."""
        request = ipc.OpenCameras(
            id=worker.next_id(),
            device=self._settings.device,
            boot=self._settings.boot,
            cameras=self._settings.cameras,
            epoch_ns=self._epoch_ns,
            default_fps=self._settings.default_fps,
            max_fps=max_fps,
            events=self._settings.events,
        )
        worker.ask(request, ipc.Done, self._settings.camera_timeout_s)

    def set_rate(self, worker: WorkerProcess, max_fps: float) -> None:
        """Cap the frame rate of every open camera; 0 lets it go."""
        request = ipc.SetRate(id=worker.next_id(), max_fps=max_fps)
        worker.ask(request, ipc.Done, self._settings.camera_timeout_s)

    def settle_gates(self, worker: WorkerProcess) -> None:
        """Let the motion gates of a worker with open cameras follow `may_gate`; a worker that fails is asked again."""
        allowed = self._may_gate()
        has_gates = any(camera.motion.enabled for camera in self._settings.cameras)
        if not has_gates or self._gates_allowed.get(worker, False) == allowed:
            return
        request = ipc.AllowGates(id=worker.next_id(), allowed=allowed)
        try:
            worker.ask(request, ipc.Done, self._settings.camera_timeout_s)
        except VigilError as error:
            log.debug("motion gates of worker %d: %s", worker.pid, error)
        else:
            self._gates_allowed[worker] = allowed

    def close_cameras(self, worker: WorkerProcess) -> None:
        """Let the worker release its cameras; the model stays loaded."""
        request = ipc.CloseCameras(id=worker.next_id())
        worker.ask(request, ipc.Done, self._settings.camera_timeout_s)

    def grab(
        self, worker: WorkerProcess, camera: str, max_width: int, quality: int
    ) -> tuple[ipc.FrameGrabbed, bytes]:
        """Fetch a camera's newest frame as JPEG.

        Raises:
            ModelError: The worker fails, dies or hangs.
            StorageError: `storage.too_long`, of a picture that no honest worker makes.
        """
        request = ipc.GrabFrame(
            id=worker.next_id(), camera=camera, max_width=max_width, quality=quality
        )
        answer, fd = worker.ask(request, ipc.FrameGrabbed, self._settings.camera_timeout_s)
        if fd is None:
            raise ModelError("worker sent no picture", code="model.protocol")
        try:
            return answer, bytes_of(fd, _MAX_JPEG_BYTES)
        finally:
            os.close(fd)


def _figure_rules(config: DriftConfig, release: InstalledRelease) -> FigureRules | None:
    """Return which frames are measured: none for a variant that nobody knows the usual figures of."""
    baseline = release.manifest.drift_baseline
    is_known = baseline.v == BASELINE_VERSION and release.variant.id in baseline.variants
    if not (config.enabled and is_known):
        return None
    return FigureRules(every_s=config.every_s, confidence=baseline.confidence)


def _check_limits(golden: GoldenSpec, p95_ms: float, memory_mb: float) -> None:
    limit_ms, limit_mb = golden.max_latency_ms, golden.max_memory_mb
    if limit_ms is not None and p95_ms > limit_ms:
        message = f"p95 {p95_ms:.1f} ms exceeds the release's {limit_ms:.1f} ms"
        raise ModelError(message, code="model.slow")
    if limit_mb is not None and memory_mb > limit_mb:
        message = f"worker uses {memory_mb:.0f} MB, more than the release's {limit_mb} MB"
        raise ModelError(message, code="model.memory")
