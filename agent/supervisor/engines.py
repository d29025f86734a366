"""TensorRT engines of the models that run here: opened if they are built, built if they are not.

A `tensorrt` variant ships ONNX. While its engine is not there, ONNX Runtime serves the same file:

1. A worker that is to load such a variant says what its GPU is, and `open` looks for an engine that fits it.
2. None: the worker loads the ONNX file, and `run` builds the engine in a process of its own.
3. Built: `switch` tries it on the golden set beside the serving worker and swaps, as an update would.
4. An engine that cannot be built, does not load or fails its trial is not tried again until the agent restarts;
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
from agent.host.memfd import read_memfd
from agent.models.engine_cache import EngineCache
from agent.models.store import InstalledRelease
from agent.schema import ipc
from agent.schema.engine import EnginePlan, Fingerprint, GpuFacts
from agent.schema.values import BackendName
from agent.supervisor.worker_process import Unasked, WorkerProcess

log = logging.getLogger(__name__)
_POLL_S = 1.0


@dataclass(frozen=True)
class BuildLimits:
    """What a build may cost: MiB of private memory, seconds, and MiB of TensorRT's scratch memory."""

    memory_mb: int = 6144
    timeout_s: float = 1800.0
    workspace_mb: int = 1024


@dataclass(frozen=True)
class _Wish:
    release: InstalledRelease
    gpu: GpuFacts

    @property
    def payload(self) -> str:
        return self.release.variant.payload.sha256


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
    """Opens and builds; thread-safe.

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
        self._lock = threading.Lock()
        self._wishes: dict[str, _Wish] = {}
        self._ready: dict[str, InstalledRelease] = {}
        self._given_up: set[str] = set()
        self._seen: set[str] = set()

    # for workers that load ----------------------------------------------------------------------------

    def has_given_up(self, release: InstalledRelease) -> bool:
        """Say whether the release is served without an engine for good."""
        with self._lock:
            return release.variant.payload.sha256 in self._given_up

    def open(self, release: InstalledRelease, gpu: GpuFacts) -> int | None:
        """Return a memfd with the engine, which the caller closes, or None: it is built then.

        Raises:
            KeyUnavailableError: The device key cannot be used now.
            StorageError: The engine cannot be read.
        """
        wish = _Wish(release, gpu)
        engine = self._cache.open(wish.payload, self._fingerprint(wish))
        with self._lock:
            self._seen.add(wish.payload)
            self._ready.pop(wish.payload, None)
            self._wishes.pop(wish.payload, None)
            if engine is None and wish.payload not in self._given_up:
                self._wishes[wish.payload] = wish
        return engine

    def give_up(self, release: InstalledRelease, reason: VigilError) -> None:
        """Let ONNX Runtime serve the release until the agent starts again."""
        log.error("no TensorRT for %s: %s", release.ref.label, reason.diagnostics())
        payload = release.variant.payload.sha256
        with self._lock:
            self._given_up.add(payload)
            self._wishes.pop(payload, None)
            self._ready.pop(payload, None)

    def reject(self, release: InstalledRelease, reason: VigilError) -> None:
        """Give up, and remove the engine: it is there but does not do."""
        self.give_up(release, reason)
        try:
            self._cache.drop(release.variant.payload.sha256)
        except VigilError as error:
            log.warning("the engine stays on disk: %s", error)

    # the loop that builds -----------------------------------------------------------------------------

    def run(self, stop: threading.Event) -> None:
        """Build what is wished for, one engine at a time, until `stop` is set."""
        while not stop.wait(_POLL_S):
            self.build_wished(stop)

    def build_wished(self, stop: threading.Event) -> None:
        """Build the engine that is missing, if one is; faults are logged and end in ONNX Runtime."""
        with self._lock:
            wish = next(iter(self._wishes.values()), None)
        if wish is None:
            return
        try:
            self._build(wish, stop)
        except VigilError as error:
            if not stop.is_set():
                self.give_up(wish.release, error)
            return
        with self._lock:
            self._wishes.pop(wish.payload, None)
            self._ready[wish.payload] = wish.release

    def switch(self, host: SwitchHost) -> None:
        """Swap to the serving release's engine, if it was built; call it while no update is under way."""
        serving = host.release
        if serving is None:
            return
        with self._lock:
            release = self._ready.pop(serving.variant.payload.sha256, None)
        if release is None:
            return
        try:
            host.trial(serving)
            if self.has_given_up(serving):
                host.discard()  # its engine did not load: ONNX Runtime serves already
                return
            host.swap()
        except VigilError as error:
            self.reject(serving, error)
        else:
            log.info("TensorRT serves %s now", serving.ref.label)

    def _build(self, wish: _Wish, stop: threading.Event) -> None:
        log.info("building the TensorRT engine of %s", wish.release.ref.label)

        def listen(worker: WorkerProcess, message: Unasked) -> None:
            if isinstance(message, ipc.BuildProgress):
                log.info("engine: %s, step %d of %d", message.phase, message.step, message.steps)
            if stop.is_set():
                worker.kill()

        plan = self._fingerprint(wish).plan
        engine, gpu = build_in_process(self.limits, plan, self._payload_of(wish), listen)
        self._cache.put(wish.payload, Fingerprint(plan=plan, gpu=gpu), engine)
        self._cache.keep_only(self._seen)

    def _payload_of(self, wish: _Wish) -> Callable[[], int]:
        return lambda: self._open_payload(wish.release)

    def _fingerprint(self, wish: _Wish) -> Fingerprint:
        precision = wish.release.variant.precision
        plan = EnginePlan(precision=precision, workspace_mb=self.limits.workspace_mb)
        return Fingerprint(plan=plan, gpu=wish.gpu)


def build_in_process(
    limits: BuildLimits,
    plan: EnginePlan,
    open_model: Callable[[], int],
    listen: Callable[[WorkerProcess, Unasked], None],
) -> tuple[bytes, GpuFacts]:
    """Build an engine in a process that is gone afterwards, whatever happens in it.

    Args:
        limits: Its memory and time.
        plan: How to build.
        open_model: Gives a sealed memfd with the ONNX file.
        listen: Told of progress, from another thread.

    Raises:
        ModelError: It cannot be built, takes too long (`model.timeout`) or the process dies (`model.crashed`).
        VigilError: The model cannot be opened.
    """
    worker = WorkerProcess(limits.memory_mb, listen, lambda _: None)
    try:
        model = open_model()
        try:
            request = ipc.BuildEngine(id=worker.next_id(), plan=plan)
            answer, engine = worker.ask(request, ipc.EngineBuilt, limits.timeout_s, model)
        finally:
            os.close(model)
    finally:
        worker.kill()
    if engine is None:
        raise ModelError("worker sent no engine", code="model.protocol")
    try:
        with read_memfd(engine) as view:
            return bytes(view), answer.gpu
    finally:
        os.close(engine)


def wants_engine(release: InstalledRelease) -> bool:
    """Say whether the release's variant is one that TensorRT serves."""
    return release.variant.backend is BackendName.TENSORRT
