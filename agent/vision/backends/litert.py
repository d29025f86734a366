"""LiteRT (formerly TensorFlow Lite): float, dynamic-range and fully integer models, with or without delegates.

A delegate is a shared library that runs part of the graph elsewhere (`libedgetpu.so.1` on the Coral Edge TPU). A
model compiled for one does not load without it; any other runs on the CPU then.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import numpy as np

from agent.errors import ModelError
from agent.vision.backends import BackendOptions, Float32, TensorInfo
from agent.vision.card import appended_metadata

try:
    from ai_edge_litert.interpreter import Interpreter, load_delegate
except ImportError:  # boards for which only the older distribution has a wheel
    from tflite_runtime.interpreter import Interpreter, load_delegate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from typing_extensions import Self

_FAULTS = (RuntimeError, ValueError, TypeError, MemoryError)
# An absent library is an OSError, one that is no delegate an AttributeError.
_DELEGATE_FAULTS = (*_FAULTS, OSError, AttributeError)


class LiteRtBackend:
    """A model in a LiteRT interpreter; see `agent.vision.backends.Backend`."""

    def __init__(self, path: str, options: BackendOptions) -> None:
        self._path, self._options = path, options
        delegates, self.notes = _load_delegates(options.delegates)
        try:
            self._interpreter = Interpreter(
                model_path=path, num_threads=options.threads, experimental_delegates=delegates
            )
            self._interpreter.allocate_tensors()
        except _FAULTS as error:
            raise ModelError(
                f"LiteRT cannot load the model: {_first_line(error)}",
                code="model.unreadable",
                hint="; ".join(self.notes),
            ) from error
        self.metadata = appended_metadata(path)
        inputs = self._interpreter.get_input_details()
        if len(inputs) != 1:
            raise ModelError(f"expected one input, found {len(inputs)}", code="model.shape")
        self._input_index = inputs[0]["index"]
        details = self._interpreter.get_output_details()
        self._output_indices = [detail["index"] for detail in details]
        self.input = _info(inputs[0])
        self.outputs = tuple(_info(detail) for detail in details)
        self.buffer = np.zeros(self.input.shape, self.input.dtype)
        self._results = [np.zeros(info.shape, np.float32) for info in self.outputs]

    def another(self) -> Self:
        """See `agent.vision.backends.Multistream`: an interpreter serves one thread, so this is a second one."""
        return type(self)(self._path, self._options)

    def infer(self) -> list[Float32]:
        """Run the model on `buffer`; the arrays are valid until the next call."""
        try:
            self._interpreter.set_tensor(self._input_index, self.buffer)
            self._interpreter.invoke()
            raw = [self._interpreter.get_tensor(index) for index in self._output_indices]
        except _FAULTS as error:
            raise ModelError(
                f"inference failed: {_first_line(error)}", code="model.inference"
            ) from error
        return [
            _dequantise(values, info, result)
            for values, info, result in zip(raw, self.outputs, self._results, strict=True)
        ]


def _load_delegates(libraries: Sequence[str]) -> tuple[list[Any], list[str]]:
    """Return the delegates that load here, and a note on each that does not."""
    delegates, notes = [], []
    for library in libraries:
        try:
            # LiteRT's own class prints a traceback when it goes on with what is no delegate.
            _ = ctypes.CDLL(library).tflite_plugin_create_delegate
            delegates.append(load_delegate(library))
        except _DELEGATE_FAULTS as error:
            notes.append(f"delegate {library} cannot be loaded: {_first_line(error)}")
    return delegates, notes


def _dequantise(values: NDArray[Any], info: TensorInfo, result: Float32) -> Float32:
    """Return `(q - zero_point) * scale` in `result`, or float values as they are."""
    if values.shape != result.shape:
        result = np.zeros(values.shape, np.float32)
    if not info.scale:
        return values.astype(np.float32, copy=False)
    np.multiply(values, np.float32(info.scale), out=result)
    result -= np.float32(info.zero_point * info.scale)
    return result


def _info(detail: dict[str, Any]) -> TensorInfo:
    parameters = detail["quantization_parameters"]
    if len(parameters["scales"]) > 1:
        raise ModelError(
            f"tensor {detail['name']} is quantised per channel, expected one scale",
            code="model.shape",
        )
    scale, zero_point = detail["quantization"]
    shape = tuple(int(side) for side in detail["shape"])
    return TensorInfo(
        detail["name"], shape, np.dtype(detail["dtype"]), float(scale), int(zero_point)
    )


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
