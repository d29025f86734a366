"""The worker's requests: load a model, prove it, open and close cameras, hand out a picture, build, stop.

The main thread answers requests one at a time; `Publisher` sends results and heartbeats. An error that
Vigil knows is answered with `Failed` and the worker goes on; any other is answered too, and ends the
worker, because nobody can say what state it left. The control process closing its end ends it as well.
"""

from __future__ import annotations

import importlib
import logging
import os
import threading
from typing import TYPE_CHECKING

from agent.errors import CameraError, CommandError, ModelError, VigilError
from agent.host.clock import monotonic_ns
from agent.host.libraries import forget_start_up
from agent.host.memfd import memfd_of, read_memfd
from agent.host.seqpacket import Wire, WireClosedError
from agent.schema import ipc
from agent.schema.document import Malformed, parse_msgpack
from agent.schema.values import BackendName
from agent.vision.backends import Remarks
from agent.vision.detector import Detector, load_detector
from agent.vision.picture import picture_of
from agent.vision.pipeline import Pipeline, Scene
from agent.vision.publisher import Publisher
from agent.vision.trial import detect_picture, read_golden, run_golden

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from agent.schema.camera_report import CameraReport

log = logging.getLogger(__name__)

_BUILD_NICENESS = 15


class Worker:
    """One vision process, from `Ready` to its end."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._stop = threading.Event()
        self._loaded: tuple[list[Detector], ipc.LoadModel] | None = None
        self._pipeline: Pipeline | None = None
        self._publisher = Publisher(wire, self._progresses, self._reports)
        self._failed = False
        self._handlers: dict[type[ipc.Request], Callable[..., None]] = {
            ipc.LoadModel: self._load_model,
            ipc.RunGolden: self._run_golden,
            ipc.DetectPicture: self._detect_picture,
            ipc.OpenCameras: self._open_cameras,
            ipc.SetRate: self._set_rate,
            ipc.AllowGates: self._allow_gates,
            ipc.CloseCameras: self._close_cameras,
            ipc.GrabFrame: self._grab_frame,
            ipc.DescribeGpu: self._describe_gpu,
            ipc.BuildEngine: self._build_engine,
            ipc.Shutdown: self._shutdown,
        }

    def run(self) -> int:
        """Serve until told to stop or left alone; return the process's exit status."""
        try:
            self._wire.send(ipc.Ready(pid=os.getpid()))
            self._spawn("publisher", lambda: self._publisher.run(self._stop))
            while not self._stop.is_set():
                received = self._wire.receive(timeout_s=0.5)
                if received is not None:
                    self._answer(*received)
        except WireClosedError:
            log.info("the control process closed its end")
        finally:
            self._stop.set()
        return 1 if self._failed else 0

    def _answer(self, data: bytes, fd: int | None) -> None:
        number = 0
        try:
            request = parse_msgpack(data, ipc.Request)
            number = request.id
            self._handlers[type(request)](request, fd)
        except WireClosedError:
            raise
        except VigilError as error:
            self._fail(number, type(error).__name__, error.code, str(error))
        except Malformed as error:
            self._fail(number, "CommandError", "ipc.malformed", str(error))
        except Exception as error:
            self._fail(number, type(error).__name__, "internal", f"{type(error).__name__}: {error}")
            raise
        finally:
            if fd is not None:
                os.close(fd)

    # requests ----------------------------------------------------------------------------------------

    def _load_model(self, request: ipc.LoadModel, fd: int | None) -> None:
        if self._pipeline is not None:
            raise CommandError("close the cameras before another model is loaded")
        variant, streams = request.variant, min(request.streams, request.threads)
        detector = load_detector(
            _attached(fd),
            backend=runtime_of(request).value,
            family=variant.family.value,
            labels=request.labels,
            input_spec=variant.input,
            box_units=variant.box_units,
            task=variant.task.value,
            keypoints=variant.keypoints,
            class_scores=variant.class_scores,
            threads=request.threads // streams,
            providers=request.providers,
            delegates=request.delegates,
            confidence=request.confidence,
            iou=request.iou,
        )
        detectors = detector.split(streams)
        self._loaded = detectors, request
        forget_start_up()
        timing, backend = detector.timing, detector.backend
        notes = list(backend.notes) if isinstance(backend, Remarks) else []
        if len(detectors) < streams:
            notes.append(f"{variant.backend.value} runs one frame at a time, not {streams}")
        self._wire.send(
            ipc.ModelLoaded(
                id=request.id,
                load_ms=timing.load_ms,
                first_inference_ms=timing.first_inference_ms,
                notes=notes,
            )
        )

    def _run_golden(self, request: ipc.RunGolden, fd: int | None) -> None:
        detectors, loaded = self._model()
        runs_on = [*loaded.providers, *loaded.delegates]
        self._wire.send(run_golden(detectors[0], read_golden(_attached(fd)), request, runs_on))

    def _detect_picture(self, request: ipc.DetectPicture, fd: int | None) -> None:
        detectors, _ = self._model()
        self._wire.send(detect_picture(detectors[0], _attached(fd), request))

    def _open_cameras(self, request: ipc.OpenCameras, fd: int | None) -> None:
        del fd
        detectors, loaded = self._model()
        scene = Scene(
            device=request.device,
            boot=request.boot,
            release=loaded.release,
            cameras=request.cameras,
            epoch_ns=request.epoch_ns,
            default_fps=request.default_fps,
            max_fps=request.max_fps,
            events=request.events,
            figures=loaded.figures,
        )
        self._pipeline = Pipeline(detectors, scene, self._publisher, self._spawn)
        self._wire.send(ipc.Done(id=request.id))

    def _set_rate(self, request: ipc.SetRate, fd: int | None) -> None:
        del fd
        self._opened().set_rate(request.max_fps)
        self._wire.send(ipc.Done(id=request.id))

    def _allow_gates(self, request: ipc.AllowGates, fd: int | None) -> None:
        del fd
        self._opened().allow_gates(allowed=request.allowed)
        self._wire.send(ipc.Done(id=request.id))

    def _close_cameras(self, request: ipc.CloseCameras, fd: int | None) -> None:
        del fd
        self._close_pipeline()
        self._wire.send(ipc.Done(id=request.id))

    def _grab_frame(self, request: ipc.GrabFrame, fd: int | None) -> None:
        del fd
        newest = self._pipeline.newest(request.camera) if self._pipeline else None
        if newest is None:
            raise CameraError(f"camera {request.camera} has no picture", code="camera.no_picture")
        answer, jpeg = picture_of(newest, request)
        picture = memfd_of(jpeg, "picture")
        try:
            self._wire.send(answer, picture)
        finally:
            os.close(picture)

    def _describe_gpu(self, request: ipc.DescribeGpu, fd: int | None) -> None:
        del fd
        self._wire.send(ipc.GpuDescribed(id=request.id, gpu=_engine_builder().describe_gpu()))

    def _build_engine(self, request: ipc.BuildEngine, fd: int | None) -> None:
        builder = _engine_builder()
        os.nice(_BUILD_NICENESS)  # for good: a worker that builds gets no other work
        started_ns, gpu = monotonic_ns(), builder.describe_gpu()
        with read_memfd(_attached(fd)) as model:
            engine = builder.build_engine(model, request.plan, self._report_build)
        build_ms = (monotonic_ns() - started_ns) / 1e6
        try:
            self._wire.send(ipc.EngineBuilt(id=request.id, gpu=gpu, build_ms=build_ms), engine)
        finally:
            os.close(engine)

    def _shutdown(self, request: ipc.Shutdown, fd: int | None) -> None:
        del fd
        self._close_pipeline()
        self._wire.send(ipc.Done(id=request.id))
        self._stop.set()

    # parts -------------------------------------------------------------------------------------------

    def _model(self) -> tuple[list[Detector], ipc.LoadModel]:
        if self._pipeline is not None:
            raise CommandError("the cameras are open: close them first")
        if self._loaded is None:
            raise ModelError("no model is loaded", code="model.missing")
        return self._loaded

    def _opened(self) -> Pipeline:
        if self._pipeline is None:
            raise CommandError("no cameras are open")
        return self._pipeline

    def _close_pipeline(self) -> None:
        if self._pipeline is None:
            return
        desks = self._pipeline.close()
        self._pipeline = None
        for desk in desks:
            self._publisher.finish(desk)

    def _progresses(self) -> bool:
        pipeline = self._pipeline
        return pipeline is None or pipeline.is_fresh()

    def _reports(self) -> list[CameraReport]:
        pipeline = self._pipeline
        return pipeline.reports() if pipeline else []

    def _report_build(self, phase: str, step: int, steps: int) -> bool:
        """Pass on how far a build is; return whether anybody is left to build for."""
        try:
            self._wire.send(ipc.BuildProgress(phase=phase, step=step, steps=steps))
        except WireClosedError:
            return False
        return True

    def _spawn(self, name: str, target: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=self._guard, args=(target,), name=name, daemon=True)
        thread.start()
        return thread

    def _guard(self, target: Callable[[], None]) -> None:
        """Run a thread's loop; whatever escapes it ends the worker."""
        try:
            target()
        except WireClosedError:
            self._stop.set()
        except Exception:
            self._failed = True
            self._stop.set()
            raise

    def _fail(self, number: int, kind: str, code: str, message: str) -> None:
        log.warning("request %d failed: %s [%s]", number, message, code)
        self._wire.send(ipc.Failed(id=number, kind=kind, code=code, message=message))


def runtime_of(request: ipc.LoadModel) -> BackendName:
    """Return the runtime for what is attached: ONNX Runtime serves a `tensorrt` variant without its engine."""
    if request.variant.backend is BackendName.TENSORRT and not request.is_engine:
        return BackendName.ONNXRUNTIME
    return request.variant.backend


def _engine_builder() -> ModuleType:
    """Return the module that knows TensorRT, which is loaded only where a build is asked for.

    Raises:
        ModelError: `model.runtime_missing`.
    """
    try:
        return importlib.import_module("agent.vision.engine_build")
    except ImportError as error:
        message = f"TensorRT cannot be loaded: {error}"
        raise ModelError(message, code="model.runtime_missing") from error


def _attached(fd: int | None) -> int:
    if fd is None:
        raise CommandError("the request came without its descriptor", code="ipc.malformed")
    return fd
