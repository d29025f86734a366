"""Inference runtimes behind one Protocol, loaded lazily from one table.

A backend owns an input buffer of fixed shape that its user fills in place, and gives float32 outputs,
dequantised where the model's are integers. It neither resizes nor decodes.

Third parties add a runtime by an entry point of the group `vigil.backends`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from agent.errors import ConfigError, ModelError
from agent.host.plugins import load_plugin

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

BACKENDS: Mapping[str, str] = {
    "onnxruntime": "agent.vision.backends.onnxruntime:OnnxRuntimeBackend",
    "litert": "agent.vision.backends.litert:LiteRtBackend",
    "tensorrt": "agent.vision.backends.tensorrt:TensorRtBackend",
}
BACKEND_GROUP = "vigil.backends"
Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class TensorInfo:
    """One tensor of a model.

    Attributes:
        shape: All dimensions positive; the batch is 1.
        dtype: Element type as the runtime wants it.
        scale: Quantisation step, 0 where the tensor is not quantised: `real = (q - zero_point) * scale`.
        zero_point: The integer that stands for 0.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    scale: float = 0.0
    zero_point: int = 0


@dataclass(frozen=True)
class BackendOptions:
    """How a runtime is set up.

    Attributes:
        threads: CPU threads.
        providers: Execution providers of ONNX Runtime in order of preference. One that is not here is passed
            over if a later one, for example the CPU's, is listed; the CPU always takes what others cannot.
        delegates: Shared libraries of LiteRT delegates, for example `libedgetpu.so.1`. One that cannot be
            loaded is passed over.
    """

    threads: int = 2
    providers: Sequence[str] = field(default=())
    delegates: Sequence[str] = field(default=())


class Backend(Protocol):
    """A loaded model."""

    @property
    def input(self) -> TensorInfo:
        """The only input tensor."""
        ...

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        """Output tensors in the model's order."""
        ...

    @property
    def metadata(self) -> Mapping[str, str]:
        """Texts that the model's makers embedded, unread; see `agent.vision.card`."""
        ...

    @property
    def buffer(self) -> NDArray[Any]:
        """Array of `input.shape` and `input.dtype`, filled in place and reused for every frame."""
        ...

    def infer(self) -> list[Float32]:
        """Run the model on `buffer`; the arrays are valid until the next call.

        Raises:
            ModelError: `model.inference` when the runtime gives up.
        """
        ...


@runtime_checkable
class Multistream(Protocol):
    """What a backend may also do: run several frames at the same time, each in a thread of its own."""

    def another(self) -> Backend:
        """Return the same loaded model with buffers of its own.

        Raises:
            ModelError: `model.memory`, or what loading it raises.
        """
        ...


@runtime_checkable
class Remarks(Protocol):
    """What a backend may also tell: which wishes of `BackendOptions` this machine did not fulfil."""

    @property
    def notes(self) -> Sequence[str]:
        """One sentence per unfulfilled wish."""
        ...


def open_backend(name: str, path: str, options: BackendOptions) -> Backend:
    """Load the model at `path` (also `/proc/self/fd/N`) with the runtime `name`.

    Raises:
        ModelError: `model.runtime_missing`, `model.unreadable` or `model.shape`.
    """
    try:
        factory = load_plugin(BACKENDS, name, BACKEND_GROUP)
    except ConfigError as error:
        raise ModelError(error.message, code="model.runtime_missing", hint=error.hint) from error
    return cast("Backend", factory(path, options))
