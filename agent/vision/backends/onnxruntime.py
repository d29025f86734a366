"""ONNX Runtime: the model is mapped from its path, input and outputs are bound to arrays of ours."""

from __future__ import annotations

import copy
import os
from typing import TYPE_CHECKING, Any

import numpy as np

# Since 1.32 the library records what it runs, with an id of the device, in a database under ~/.cache that is
# made to be sent to its makers. It decides so while it is imported.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state

from agent.errors import ModelError
from agent.vision.backends import BackendOptions, Float32, TensorInfo

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from typing_extensions import Self

_DTYPES: Mapping[str, np.dtype[Any]] = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(float16)": np.dtype(np.float16),
    "tensor(uint8)": np.dtype(np.uint8),
    "tensor(int8)": np.dtype(np.int8),
    "tensor(int32)": np.dtype(np.int32),
    "tensor(int64)": np.dtype(np.int64),
}
# ONNX Runtime has one exception class per status code, all direct children of Exception.
_FAULTS: tuple[type[Exception], ...] = (
    *(
        kind
        for kind in vars(ort_state).values()
        if isinstance(kind, type) and issubclass(kind, Exception)
    ),
    RuntimeError,
    ValueError,
    MemoryError,
)
_CPU = "CPUExecutionProvider"
_XNNPACK = "XnnpackExecutionProvider"
# Longer than the pauses between a model's operators, and nothing beside those between frames.
_SPIN_US = 20
_BOUNDS_SPINNING = (1, 26)


class OnnxRuntimeBackend:
    """A model in an ONNX Runtime session; see `agent.vision.backends.Backend`."""

    def __init__(self, path: str, options: BackendOptions) -> None:
        available = ort.get_available_providers()
        usable, self.notes = choose_providers(options.providers, available)
        try:
            self._session = ort.InferenceSession(
                path,
                _session_options(options.threads, usable),
                providers=[_with_settings(name, options.threads) for name in usable],
            )
        except _FAULTS as error:
            raise ModelError(
                f"ONNX Runtime cannot load the model: {_first_line(error)}", code="model.unreadable"
            ) from error
        self.notes += _idle(options.providers, usable, self._session.get_providers())
        self.metadata = dict(self._session.get_modelmeta().custom_metadata_map)
        self.input = _single([_info(node) for node in self._session.get_inputs()])
        self.outputs = tuple(_info(node) for node in self._session.get_outputs())
        self._allocate()

    def another(self) -> Self:
        """See `agent.vision.backends.Multistream`: a session may run in several threads at once."""
        twin = copy.copy(self)
        twin._allocate()  # noqa: SLF001 - of this class
        return twin

    def infer(self) -> list[Float32]:
        """Run the model on `buffer`; the arrays are valid until the next call."""
        try:
            self._session.run_with_iobinding(self._binding)
        except _FAULTS as error:
            raise ModelError(
                f"inference failed: {_first_line(error)}", code="model.inference"
            ) from error
        return [result.astype(np.float32, copy=False) for result in self._results]

    def _allocate(self) -> None:
        self.buffer = np.zeros(self.input.shape, self.input.dtype)
        self._results = [np.zeros(info.shape, info.dtype) for info in self.outputs]
        self._binding = self._bind()

    def _bind(self) -> Any:
        binding = self._session.io_binding()
        binding.bind_input(
            self.input.name, "cpu", 0, self.input.dtype, self.input.shape, self.buffer.ctypes.data
        )
        for info, result in zip(self.outputs, self._results, strict=True):
            binding.bind_output(info.name, "cpu", 0, info.dtype, info.shape, result.ctypes.data)
        return binding


def choose_providers(
    wanted: Sequence[str], available: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Return the execution providers to use, the CPU's last, and a note on each that is passed over.

    Raises:
        ModelError: Not one of those wanted is in the installed build (`model.runtime_missing`).
    """
    usable = [name for name in wanted if name in available]
    missing = [name for name in wanted if name not in available]
    built = ", ".join(available)
    if missing and not usable:
        raise ModelError(
            f"ONNX Runtime has no execution provider {' or '.join(missing)} here",
            code="model.runtime_missing",
            hint=f"the installed build has {built}; list {_CPU} to fall back to it",
        )
    notes = [f"execution provider {name} is not here (the build has {built})" for name in missing]
    return [*(name for name in usable if name != _CPU), _CPU], notes


def _idle(wanted: Sequence[str], usable: Sequence[str], active: Sequence[str]) -> list[str]:
    """Return a note on each provider that is built in but did not start, its driver missing, say.

    Raises:
        ModelError: The caller lists no provider that did start (`model.runtime_missing`).
    """
    idle = [name for name in usable if name not in active]
    if idle and not any(name in active for name in wanted):
        raise ModelError(
            f"the execution provider {' or '.join(idle)} does not start here",
            code="model.runtime_missing",
            hint=f"check its driver and libraries, or list {_CPU} to fall back to it",
        )
    return [f"execution provider {name} does not start here" for name in idle]


def _session_options(threads: int, providers: Sequence[str]) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    # XNNPACK has threads of its own; a second pool would fight with them for the cores.
    options.intra_op_num_threads = 1 if _XNNPACK in providers else threads
    options.inter_op_num_threads = 1
    for key, value in spinning(ort.__version__).items():
        options.add_session_config_entry(f"session.intra_op.{key}", value)
    # It holds 10 MB of a small model's peak for nothing measurable in speed.
    options.enable_mem_pattern = False
    return options


def spinning(version: str) -> dict[str, str]:
    """Return how long a thread without work stays awake: until the next operator, not until the next frame.

    ONNX Runtime before 1.26 cannot bound it and would burn the pauses that a camera leaves, so there its
    threads sleep at once.
    """
    release = tuple(int(part) for part in version.split(".")[:2])
    if release < _BOUNDS_SPINNING:
        return {"allow_spinning": "0"}
    return {"allow_spinning": "1", "spin_duration_us": str(_SPIN_US)}


def _with_settings(provider: str, threads: int) -> str | tuple[str, dict[str, str]]:
    if provider == _XNNPACK:
        return provider, {"intra_op_num_threads": str(threads)}
    return provider


def _info(node: Any) -> TensorInfo:
    if node.type not in _DTYPES:
        raise ModelError(f"tensor {node.name} has type {node.type}", code="model.shape")
    if not all(isinstance(side, int) and side > 0 for side in node.shape):
        raise ModelError(
            f"tensor {node.name} has no fixed shape, found {node.shape}",
            code="model.shape",
            hint="export the model with fixed input size and batch 1",
        )
    return TensorInfo(node.name, tuple(node.shape), _DTYPES[node.type])


def _single(inputs: list[TensorInfo]) -> TensorInfo:
    if len(inputs) != 1:
        raise ModelError(f"expected one input, found {len(inputs)}", code="model.shape")
    return inputs[0]


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
