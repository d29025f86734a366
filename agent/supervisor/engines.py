"""TensorRT engines of the models that run here: opened if they are built, built if they are not.

A `tensorrt` variant ships ONNX, which ONNX Runtime serves where there is no engine.

- `prepare`, before a new release goes on trial: build its engine in a process of its own while the current model
  serves, so that the trial and probation measure the engine.
- A serving worker that starts says what its GPU is, and `open` looks for an engine that fits it. None, because
  the board's software changed or the file is damaged: the worker serves the ONNX file at once, `run` builds the
  engine, and `switch` tries it on the golden set beside the serving worker and swaps, as an update would.
- An engine that cannot be built, does not load or fails that trial is not tried again until the agent restarts;
  ONNX Runtime goes on serving.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from agent.errors import ModelError, VigilError
from agent.host.memfd import bytes_of
from agent.models.engine_cache import EngineCache
from agent.models.store import InstalledRelease
from agent.schema import ipc
from agent.schema.engine import EnginePlan, Fingerprint, GpuFacts
from agent.schema.values import BackendName
from agent.supervisor.worker_process import Unasked, WorkerProcess

log = logging.getLogger(__name__)
_POLL_S = 1.0
_MAX_ENGINE_BYTES = 2**30
_DESCRIBE_S = 60.0  # the first import of TensorRT from a slow card


@dataclass(frozen=True)
class BuildLimits:
    """What a build may cost: MiB of private memory, seconds, and MiB of TensorRT's scratch memory."""

    memory_mb: int = 6144
    timeout_s: float = 1800.0
    workspace_mb: int = 1024


class SwitchHost(Protocol):
    """What a switch needs of the supervisor."""

    @property
    def release(self) -> InstalledRelease | None:
        """The release that serves."""
        ...

    def trial(self, release: InstalledRelease) -> None:
        """Load a release beside the serving one and prove it."""
        ...

    def swap(self) -> float | None:
        """Let the proven one serve; return the gap in milliseconds, None where no frames flow."""
        ...

    def discard(self) -> None:
        """Stop the proven one."""
        ...


class Engines:
    """Opens and builds; thread-safe, one build at a time.

    Args:
        cache: Where engines are kept.
        limits: What a build may cost.
        open_payload: Gives a sealed memfd with a release's plaintext model.
    """

    def __init__(
        self,
        cache: EngineCache,
        limits: BuildLimits,
        open_payload: Callable[[InstalledRelease], int],
    ) -> None:
        self.limits = limits
        self._cache, self._open_payload = cache, open_payload
        self._lock, self._building = threading.Lock(), threading.Lock()
        self._missing: dict[str, InstalledRelease] = {}
        self._ready: set[str] = set()
        self._given_up: set[str] = set()
        self._seen: set[str] = set()
        self._is_abandoned = False

    # for workers that load ----------------------------------------------------------------------------

    def may_serve(self, release: InstalledRelease) -> bool:
        """Say whether the release is for TensorRT, and nothing has shown that it cannot be here."""
        with self._lock:
            is_hopeless = _payload(release) in self._given_up
        return release.variant.backend is BackendName.TENSORRT and not is_hopeless

    def open(self, release: InstalledRelease, gpu: GpuFacts) -> int | None:
        """Return a memfd with the engine, which the caller closes, or None: it is built then.

        Raises:
            KeyUnavailableError: The device key cannot be used now.
            StorageError: The engine cannot be read.
        """
        payload = _payload(release)
        engine = self._cache.open(payload, Fingerprint(plan=self._plan(release), gpu=gpu))
        with self._lock:
            self._seen.add(payload)
            self._ready.discard(payload)
            self._missing.pop(payload, None)
            if engine is None:
                self._missing[payload] = release
        return engine

    def give_up(self, release: InstalledRelease, reason: VigilError) -> None:
        """Let ONNX Runtime serve the release until the agent starts again."""
        if self._is_abandoned:
            return
        log.error("no TensorRT for %s: %s", release.ref.label, reason.diagnostics())
        payload = _payload(release)
        with self._lock:
            self._given_up.add(payload)
            self._missing.pop(payload, None)
            self._ready.discard(payload)

    def reject(self, release: InstalledRelease, reason: VigilError) -> None:
        """Give up, and remove the engine: it is there but does not do."""
        if self._is_abandoned:
            return
        self.give_up(release, reason)
        try:
            self._cache.drop(_payload(release))
        except VigilError as error:
            log.warning("the engine stays on disk: %s", error)

    # building and switching ---------------------------------------------------------------------------

    def prepare(self, release: InstalledRelease) -> None:
        """Build the engine of a release, unless one is there or it has none; faults end in ONNX Runtime."""
        if not self.may_serve(release) or self._is_abandoned:
            return
        try:
            with self._building:
                self._build(release)
        except VigilError as error:
            self.give_up(release, error)

    def run(self, stop: threading.Event) -> None:
        """Build what a serving worker did not find, until `stop` is set."""
        while not stop.wait(_POLL_S):
            self.build_missing()

    def build_missing(self) -> None:
        """Build an engine that is missing, if one is, for `switch` to take."""
        with self._lock:
            release = next(iter(self._missing.values()), None)
        if release is None:
            return
        self.prepare(release)
        with self._lock:
            if self._missing.pop(_payload(release), None) is not None:
                self._ready.add(_payload(release))

    def switch(self, host: SwitchHost) -> None:
        """Swap to the serving release's engine, if it was built; call it while no update is under way."""
        serving = host.release
        with self._lock:
            if serving is None or _payload(serving) not in self._ready:
                return
            self._ready.discard(_payload(serving))
        try:
            host.trial(serving)
            if not self.may_serve(serving):
                host.discard()  # its engine did not load: ONNX Runtime serves already
                return
            host.swap()
        except VigilError as error:
            self.reject(serving, error)
        else:
            log.info("TensorRT serves %s now", serving.ref.label)

    def abandon(self) -> None:
        """End a build at once and blame no engine from now on: the agent stops."""
        self._is_abandoned = True

    def _build(self, release: InstalledRelease) -> None:
        worker = WorkerProcess(self.limits.memory_mb, self._listen, lambda _: None)
        try:
            gpu = _describe(worker)
            engine = self._cache.open(
                _payload(release), Fingerprint(plan=self._plan(release), gpu=gpu)
            )
            if engine is not None:
                os.close(engine)
                return
            log.info("building the TensorRT engine of %s", release.ref.label)
            built, gpu = _build(
                worker, self._plan(release), self._open_payload(release), self.limits
            )
        finally:
            worker.kill()
        self._cache.put(_payload(release), Fingerprint(plan=self._plan(release), gpu=gpu), built)
        with self._lock:
            self._seen.add(_payload(release))
            seen = frozenset(self._seen)
        self._cache.keep_only(seen)

    def _listen(self, worker: WorkerProcess, message: Unasked) -> None:
        """Log progress; a worker that says anything after the agent's end was announced is killed."""
        if isinstance(message, ipc.BuildProgress):
            log.info("engine: %s, step %d of %d", message.phase, message.step, message.steps)
        if self._is_abandoned:
            worker.kill()

    def _plan(self, release: InstalledRelease) -> EnginePlan:
        precision = release.variant.precision
        return EnginePlan(precision=precision, workspace_mb=self.limits.workspace_mb)


def _payload(release: InstalledRelease) -> str:
    return release.variant.payload.sha256


def _describe(worker: WorkerProcess) -> GpuFacts:
    request = ipc.DescribeGpu(id=worker.next_id())
    answer, _ = worker.ask(request, ipc.GpuDescribed, _DESCRIBE_S)
    return answer.gpu


def _build(
    worker: WorkerProcess, plan: EnginePlan, model: int, limits: BuildLimits
) -> tuple[bytes, GpuFacts]:
    """Return the engine of the model in the memfd `model`, which is closed, and what it is bound to.

    Raises:
        ModelError: It cannot be built, takes too long (`model.timeout`) or the process dies (`model.crashed`).
    """
    request = ipc.BuildEngine(id=worker.next_id(), plan=plan)
    try:
        answer, engine = worker.ask(request, ipc.EngineBuilt, limits.timeout_s, model)
    finally:
        os.close(model)
    if engine is None:
        raise ModelError("worker sent no engine", code="model.protocol")
    try:
        return bytes_of(engine, _MAX_ENGINE_BYTES), answer.gpu
    finally:
        os.close(engine)
