"""TensorRT 10 and newer: runs an engine that was built on this device (see `agent.vision.engine_build`).

Tensors are bound by name to fixed addresses once; a frame is copied from page-locked memory to the device, run and
copied back in one stream of its own, and the host waits once.

Source: NVIDIA, TensorRT Python API, `IExecutionContext.execute_async_v3`.
"""

from __future__ import annotations

import mmap
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorrt as trt

from agent.errors import ModelError
from agent.vision.backends import BackendOptions, Float32, TensorInfo
from agent.vision.backends.cuda import Cuda, Pair, Stream

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

OLDEST = 10
# What the bindings raise; a constructor that fails in the library is a TypeError.
FAULTS = (RuntimeError, ValueError, TypeError, MemoryError)


class TensorRtLog(trt.ILogger):  # type: ignore[misc]
    """Keeps TensorRT's last complaint, because its functions only return None or False."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self._problem = ""

    def log(self, severity: Any, msg: str) -> None:
        """Take a message of the library."""
        if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
            self._problem = msg.splitlines()[0][:300] if msg else ""

    def take(self) -> str:
        """Return the last complaint and forget it."""
        problem, self._problem = self._problem, ""
        return problem or "it gave no reason"


# One for the process: TensorRT keeps the first logger it is given for good.
LOG = TensorRtLog()


def check_version() -> None:
    """Refuse a TensorRT whose interface differs.

    Raises:
        ModelError: `model.runtime_missing`.
    """
    if int(trt.__version__.split(".")[0]) < OLDEST:
        message = f"expected TensorRT {OLDEST} or newer, found {trt.__version__}"
        raise ModelError(message, code="model.runtime_missing", hint="run the model's ONNX variant")


class TensorRtBackend:
    """An engine with its execution context; see `agent.vision.backends.Backend`."""

    def __init__(self, path: str, options: BackendOptions) -> None:
        del options  # all was decided when the engine was built
        check_version()
        self.metadata: Mapping[str, str] = MappingProxyType({})
        # First, because TensorRT 11 ends the process where there is no device, and CUDA says so.
        cuda = Cuda()
        self._stream = Stream(cuda)
        self._runtime = _made(trt.Runtime, LOG)
        self._engine = _deserialise(self._runtime, path)
        inputs, outputs = _tensors(self._engine)
        if len(inputs) != 1:
            raise ModelError(f"expected one input, found {len(inputs)}", code="model.shape")
        self.input, self.outputs = inputs[0], tuple(outputs)
        self._context = _made(self._engine.create_execution_context)
        self._source = Pair(cuda, self.input.shape, self.input.dtype)
        self._results = [Pair(cuda, info.shape, info.dtype) for info in self.outputs]
        self._bind()
        self.buffer: NDArray[Any] = self._source.host

    def infer(self) -> list[Float32]:
        """Run the model on `buffer`; the arrays are valid until the next call."""
        stream = self._stream.handle
        try:
            self._source.upload(stream)
            started = self._context.execute_async_v3(stream)
            for result in self._results:
                result.download(stream)
            self._stream.wait()
        except (*FAULTS, ModelError) as error:
            raise ModelError(f"inference failed: {error}", code="model.inference") from error
        if not started:
            raise ModelError(f"inference failed: {LOG.take()}", code="model.inference")
        return [result.host.astype(np.float32, copy=False) for result in self._results]

    def _bind(self) -> None:
        tensors = (self.input, *self.outputs)
        for info, pair in zip(tensors, (self._source, *self._results), strict=True):
            if not self._context.set_tensor_address(info.name, pair.address):
                message = f"tensor {info.name} cannot be bound: {LOG.take()}"
                raise ModelError(message, code="model.shape")


def _made(factory: Any, *arguments: Any) -> Any:
    """Return what a function of TensorRT makes; it says "no" by an error or by None.

    Raises:
        ModelError: `model.accelerator`.
    """
    try:
        made = factory(*arguments)
    except FAULTS as error:
        message = f"TensorRT does not start here: {LOG.take()} ({error})"
        raise ModelError(message, code="model.accelerator") from error
    if made is None:
        message = f"TensorRT does not start here: {LOG.take()}"
        raise ModelError(message, code="model.accelerator")
    return made


def _deserialise(runtime: Any, path: str) -> Any:
    # Only engines that carry a runtime of their own are ever unpacked; should one come, not to a disk.
    runtime.tempfile_control_flags = 1 << int(trt.TempfileControlFlag.ALLOW_IN_MEMORY_FILES)
    try:
        with (
            Path(path).open("rb") as file,
            mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as plan,
        ):
            engine = runtime.deserialize_cuda_engine(plan)
    except (*FAULTS, OSError) as error:
        raise _unreadable(str(error)) from error
    if engine is None:
        raise _unreadable(LOG.take())
    return engine


def _unreadable(reason: str) -> ModelError:
    message = f"TensorRT cannot load the engine: {reason}"
    hint = "an engine runs only where it was built: build it again from its ONNX model"
    return ModelError(message, code="model.unreadable", hint=hint)


def _tensors(engine: Any) -> tuple[list[TensorInfo], list[TensorInfo]]:
    """Return inputs and outputs in the engine's order."""
    found: tuple[list[TensorInfo], list[TensorInfo]] = ([], [])
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        is_output = engine.get_tensor_mode(name) == trt.TensorIOMode.OUTPUT
        found[is_output].append(_info(engine, name))
    return found


def _info(engine: Any, name: str) -> TensorInfo:
    shape = tuple(engine.get_tensor_shape(name))
    if not all(side > 0 for side in shape):
        raise ModelError(
            f"tensor {name} has no fixed shape, found {shape}",
            code="model.shape",
            hint="export the model with fixed input size and batch 1",
        )
    kind = engine.get_tensor_dtype(name)
    try:
        return TensorInfo(name, shape, np.dtype(trt.nptype(kind)))
    except TypeError as error:
        raise ModelError(f"tensor {name} has type {kind}", code="model.shape") from error
